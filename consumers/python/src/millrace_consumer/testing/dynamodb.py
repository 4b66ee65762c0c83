"""A client of DynamoDB tables in memory, for tests of a handler."""

from __future__ import annotations

import copy
import importlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

Item = dict[str, dict[str, Any]]
"""An item in DynamoDB's JSON: each attribute is a mapping of its type to its value, such as `{"S": "a"}`."""


def _error_base() -> type[Exception]:
    """The class of boto3's errors if it is installed, so that a handler that catches it also works with the fake."""
    try:
        base: type[Exception] = importlib.import_module("botocore.exceptions").ClientError
    except ImportError:
        return Exception
    return base


class FakeClientError(_error_base()):  # type: ignore[misc]
    """An error of the client. `response` has the form of botocore's errors."""

    def __init__(self, code: str, message: str, reasons: Sequence[Mapping[str, Any]] | None = None) -> None:
        Exception.__init__(self, f"{code}: {message}")
        self.operation_name = "Fake"
        self.response: dict[str, Any] = {"Error": {"Code": code, "Message": message}}
        if reasons is not None:
            self.response["CancellationReasons"] = reasons


class FakeDynamoDB:
    """A client of tables in memory, with the requests that a handler's writes consist of.

    It has `get_item`, `put_item`, `update_item`, `delete_item` and `transact_write_items` of
    `boto3.client("dynamodb")`. Expressions may consist of comparisons, `AND`, `OR`, `NOT`, `attribute_exists`,
    `attribute_not_exists`, `begins_with`, and in updates of `SET` with `+`, `-` and `if_not_exists`, `REMOVE`, and
    `ADD` of numbers. Everything else raises `NotImplementedError`, so no test passes because of a request that was
    ignored. Requests that DynamoDB refuses raise a `ValidationException`, for example two writes of one item in
    a transaction.
    """

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Create the tables. `tables` contains the names of the key's attributes of each table."""
        self._keys = {name: tuple(key) for name, key in tables.items()}
        self._items: dict[str, dict[tuple[str, ...], Item]] = {name: {} for name in tables}
        self._lock = threading.RLock()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """All requests, in order: the operation and its arguments."""

    def items(self, table_name: str) -> list[Item]:
        """Return the items of a table."""
        with self._lock:
            return copy.deepcopy(list(self._items[table_name].values()))

    def get_item(self, **request: Any) -> dict[str, Any]:
        """Read an item."""
        with self._lock:
            self._record("get_item", request, {"TableName", "Key", "ConsistentRead"})
            found = self._table(request).get(self._key(request["TableName"], request["Key"], is_exact=True))
            return {} if found is None else {"Item": copy.deepcopy(found)}

    def put_item(self, **request: Any) -> dict[str, Any]:
        """Write an item."""
        return self._write("put_item", "Put", request)

    def update_item(self, **request: Any) -> dict[str, Any]:
        """Update an item, or write it if it doesn't exist."""
        return self._write("update_item", "Update", request)

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Delete an item."""
        return self._write("delete_item", "Delete", request)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Write the items of a transaction, all or none."""
        with self._lock:
            self._record("transact_write_items", request, {"TransactItems", "ClientRequestToken"})
            entries = request["TransactItems"]
            if not 1 <= len(entries) <= 100:
                raise _invalid("a transaction has 1 to 100 items")
            prepared = []
            for entry in entries:
                if len(entry) != 1:
                    raise _invalid("an entry of TransactItems has one operation")
                [(operation, arguments)] = entry.items()
                prepared.append(self._prepare(operation, arguments))
            places = [(it.table_name, it.key) for it in prepared]
            if len(set(places)) < len(places):
                raise _invalid("Transaction request cannot include multiple operations on one item")
            holds = [it.holds() for it in prepared]
            if not all(holds):
                reasons = [{"Code": "None"} if it else {"Code": "ConditionalCheckFailed"} for it in holds]
                raise FakeClientError("TransactionCanceledException", "Transaction cancelled", reasons)
            # An update that fails leaves all items unchanged.
            for write, after in [(it, it.after()) for it in prepared]:
                self._apply(write, after)
            return {}

    def _write(self, name: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._record(name, request, None)
            prepared = self._prepare(operation, request)
            if not prepared.holds():
                raise FakeClientError("ConditionalCheckFailedException", "The conditional request failed")
            self._apply(prepared, prepared.after())
            return {}

    def _record(self, name: str, request: dict[str, Any], allowed: set[str] | None) -> None:
        self.requests.append((name, copy.deepcopy(request)))
        if allowed is not None and request.keys() - allowed:
            raise NotImplementedError(f"{name} with {sorted(request.keys() - allowed)}")

    def _table(self, request: Mapping[str, Any]) -> dict[tuple[str, ...], Item]:
        name = request["TableName"]
        if name not in self._items:
            raise FakeClientError("ResourceNotFoundException", "Requested resource not found")
        return self._items[name]

    def _key(self, table_name: str, item: Mapping[str, Any], *, is_exact: bool) -> tuple[str, ...]:
        names = self._keys[table_name]
        if is_exact and set(item) != set(names):
            raise _invalid("The provided key element does not match the schema")
        for name in names:
            if name not in item or set(item[name]) - {"S", "N", "B"} or item[name].get("S") == "":
                raise _invalid(f"the key {name} is missing or invalid")
        return tuple(repr(item[name]) for name in names)

    def _prepare(self, operation: str, request: Mapping[str, Any]) -> _Write:
        names = {"TableName", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"}
        if operation == "Put":
            names.add("Item")
        elif operation in ("Update", "Delete", "ConditionCheck"):
            names |= {"Key", "UpdateExpression"} if operation == "Update" else {"Key"}
        else:
            raise NotImplementedError(f"the operation {operation}")
        if request.keys() - names:
            raise NotImplementedError(f"{operation} with {sorted(request.keys() - names)}")
        table = self._table(request)
        table_name = request["TableName"]
        key = self._key(table_name, request["Item" if operation == "Put" else "Key"], is_exact=operation != "Put")
        expressions = _Expressions(request)
        stored = table.get(key)
        condition = expressions.condition(request.get("ConditionExpression"))
        after: Item | None = stored
        if operation == "Put":
            after = copy.deepcopy(dict(request["Item"]))
        elif operation == "Delete":
            after = None
        update = expressions.update(request["UpdateExpression"]) if operation == "Update" else None
        expressions.check_all_used()
        if update is not None:

            def updated() -> Item:
                return update(copy.deepcopy(stored) if stored is not None else copy.deepcopy(dict(request["Key"])))

            return _Write(table_name, key, lambda: condition(stored or {}), updated)
        return _Write(table_name, key, lambda: condition(stored or {}), lambda: after)

    def _apply(self, write: _Write, after: Item | None) -> None:
        if after is None:
            self._items[write.table_name].pop(write.key, None)
        else:
            self._items[write.table_name][write.key] = after


class _Write:
    """A write that was checked, and not applied yet."""

    def __init__(
        self, table_name: str, key: tuple[str, ...], holds: Callable[[], bool], after: Callable[[], Item | None]
    ) -> None:
        self.table_name = table_name
        self.key = key
        self.holds = holds
        self.after = after


_Condition = Callable[[Item], bool]
_Operand = Callable[[Item], "dict[str, Any] | None"]
_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[#:]?[A-Za-z_][A-Za-z0-9_]*)")
_CLAUSES = frozenset({"SET", "REMOVE", "ADD", "DELETE"})


class _Expressions:
    """Reads the expressions of one request."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._names: Mapping[str, str] = request.get("ExpressionAttributeNames", {})
        self._values: Mapping[str, dict[str, Any]] = request.get("ExpressionAttributeValues", {})
        for member in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            if member in request and not request[member]:
                raise _invalid(f"{member} must not be empty")
        self._used: set[str] = set()
        self._tokens: list[str] = []

    def check_all_used(self) -> None:
        unused = (self._names.keys() | self._values.keys()) - self._used
        if unused:
            raise _invalid(f"unused in expressions: {sorted(unused)}")

    def condition(self, expression: str | None) -> _Condition:
        if expression is None:
            return lambda _: True
        self._tokens = list(_tokens(expression))
        result = self._or()
        if self._tokens:
            raise NotImplementedError(f"the condition {expression}")
        return result

    def update(self, expression: str) -> Callable[[Item], Item]:
        self._tokens = list(_tokens(expression))
        actions: list[Callable[[Item, Item], None]] = []
        while self._tokens:
            clause = self._tokens.pop(0).upper()
            if clause not in _CLAUSES - {"DELETE"}:
                raise NotImplementedError(f"the update {expression}")
            actions.append(self._action(clause))
            while self._accept(","):
                actions.append(self._action(clause))

        def apply(item: Item) -> Item:
            # All operands are values of the item before the update.
            before = copy.deepcopy(item)
            for action in actions:
                action(before, item)
            return item

        return apply

    def _action(self, clause: str) -> Callable[[Item, Item], None]:
        name = self._name(self._tokens.pop(0))
        if clause == "REMOVE":

            def remove(_: Item, item: Item) -> None:
                item.pop(name, None)

            return remove
        if clause == "ADD":
            addend = self._operand()
            return lambda before, item: item.update({name: _sum(before.get(name, {"N": "0"}), addend(before), 1)})
        self._expect("=")
        value = self._sum()

        def assign(before: Item, item: Item) -> None:
            result = value(before)
            if result is None:
                raise _invalid("The provided expression refers to an attribute that does not exist in the item")
            item[name] = copy.deepcopy(result)

        return assign

    def _sum(self) -> _Operand:
        left = self._operand()
        for sign, factor in (("+", 1), ("-", -1)):
            if self._accept(sign):
                right = self._operand()
                return lambda item: _sum(left(item), right(item), factor)
        return left

    def _or(self) -> _Condition:
        left = self._and()
        while self._accept("OR"):
            left = _either(left, self._and())
        return left

    def _and(self) -> _Condition:
        left = self._not()
        while self._accept("AND"):
            left = _both(left, self._not())
        return left

    def _not(self) -> _Condition:
        if self._accept("NOT"):
            negated = self._not()
            return lambda item: not negated(item)
        if self._accept("("):
            inner = self._or()
            self._expect(")")
            return inner
        if len(self._tokens) > 1 and self._tokens[1] == "(" and self._tokens[0] != "if_not_exists":
            return self._function()
        left = self._operand()
        comparator = self._tokens.pop(0) if self._tokens else ""
        if comparator not in ("=", "<>", "<", "<=", ">", ">="):
            raise NotImplementedError(f"the comparator {comparator}")
        right = self._operand()
        return lambda item: _compare(left(item), comparator, right(item))

    def _function(self) -> _Condition:
        function = self._tokens.pop(0)
        self._expect("(")
        name = self._name(self._tokens.pop(0))
        if function == "begins_with":
            self._expect(",")
            prefix = self._operand()
            self._expect(")")
            return lambda item: _begins_with(item.get(name), prefix(item))
        self._expect(")")
        if function == "attribute_exists":
            return lambda item: name in item
        if function == "attribute_not_exists":
            return lambda item: name not in item
        raise NotImplementedError(f"the function {function}")

    def _operand(self) -> _Operand:
        token = self._tokens.pop(0)
        if token == "if_not_exists":  # noqa: S105 (a word of an expression)
            self._expect("(")
            name = self._name(self._tokens.pop(0))
            self._expect(",")
            default = self._operand()
            self._expect(")")
            return lambda item: item[name] if name in item else default(item)
        if token.startswith(":"):
            if token not in self._values:
                raise _invalid(f"the value {token} is not defined")
            self._used.add(token)
            value = self._values[token]
            return lambda _: value
        name = self._name(token)
        return lambda item: item.get(name)

    def _name(self, token: str) -> str:
        if token.startswith("#"):
            if token not in self._names:
                raise _invalid(f"the name {token} is not defined")
            self._used.add(token)
            return self._names[token]
        if not token.isidentifier():
            raise NotImplementedError(f"the name {token}")
        return token

    def _accept(self, token: str) -> bool:
        if self._tokens and self._tokens[0].upper() == token:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise NotImplementedError(f"an expression without {token} before {self._tokens[:1]}")


def _tokens(expression: str) -> Iterator[str]:
    end = 0
    while expression[end:].strip():
        match = _TOKEN.match(expression, end)
        if match is None:
            raise NotImplementedError(f"the expression {expression}")
        yield match.group(1)
        end = match.end()


def _both(left: _Condition, right: _Condition) -> _Condition:
    return lambda item: left(item) and right(item)


def _either(left: _Condition, right: _Condition) -> _Condition:
    return lambda item: left(item) or right(item)


def _compare(left: dict[str, Any] | None, comparator: str, right: dict[str, Any] | None) -> bool:
    if left is None or right is None:
        return comparator == "<>" and left is not right
    [(left_type, left_value)] = left.items()
    [(right_type, right_value)] = right.items()
    if left_type == right_type == "N":
        left_value, right_value = Decimal(left_value), Decimal(right_value)
    if comparator in ("=", "<>"):
        is_equal = (left_type, left_value) == (right_type, right_value)
        return is_equal == (comparator == "=")
    if left_type != right_type or left_type not in ("S", "N", "B"):
        return False
    is_less, is_equal = left_value < right_value, left_value == right_value
    if comparator.startswith("<"):
        return bool(is_less or (is_equal and comparator == "<="))
    return bool(not is_less and (not is_equal or comparator == ">="))


def _begins_with(value: dict[str, Any] | None, prefix: dict[str, Any] | None) -> bool:
    if value is None or prefix is None or value.keys() != prefix.keys() or not value.keys() <= {"S", "B"}:
        return False
    [text], [start] = value.values(), prefix.values()
    return bool(text.startswith(start))


def _sum(left: dict[str, Any] | None, right: dict[str, Any] | None, factor: int) -> dict[str, Any]:
    if left is None or right is None or "N" not in left or "N" not in right:
        raise _invalid("An operand in the update expression has an incorrect data type")
    return {"N": str(Decimal(left["N"]) + factor * Decimal(right["N"]))}


def _invalid(message: str) -> FakeClientError:
    return FakeClientError("ValidationException", message)
