"""Positions in a DynamoDB table. consumers/README.md describes the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .decode import MAX_SEQUENCE
from .positions import Position, PositionChanged, PositionGap

MAX_ITEMS = 100
"""The number of items of a transaction, from the API reference of TransactWriteItems:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

# Another transaction or write has the item at this moment. A write of the handler that conflicts may do so with the
# other invocation's transaction, so the position has to be read again in this case, too.
_CONFLICTS = frozenset({"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"})

# Reasons of a canceled transaction: the capacity of a table or of a partition was exceeded. botocore repeats requests
# that are throttled as a whole, and doesn't repeat a canceled transaction.
_THROTTLED = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})


class InvalidPosition(Exception):
    """The item of a position doesn't have the attributes that consumers/README.md describes."""


class WriteConditionFailed(Exception):
    """The condition of one of the handler's own writes isn't true. The aggregate is incomplete from its event on."""


class DynamoDBPositions:
    """Positions in a DynamoDB table with the partition key `Subject` (S) and no sort key.

    `client` is a low-level client, `boto3.client("dynamodb")`. The function's role needs `dynamodb:GetItem` and
    `dynamodb:UpdateItem` on the table, and for the handler's writes the permission of each
    (`PutItem`, `UpdateItem`, `DeleteItem`, `ConditionCheckItem`). The client repeats requests that are throttled as
    a whole. A transaction that is canceled because of throttling is repeated by the consumer.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self._table_name = table_name

    @property
    def max_writes(self) -> int:
        """A transaction has one item for the position, and the others for writes."""
        return MAX_ITEMS - 1

    def read(self, subject: str) -> Position:
        """Read the position with a consistent read.

        Raise `InvalidPosition` if the item is malformed, and the client's errors.
        """
        response = self._client.get_item(
            TableName=self._table_name, Key={"Subject": {"S": subject}}, ConsistentRead=True
        )
        return _position(response.get("Item") or {})

    def save(self, subject: str, before: Position, after: Position, writes: Sequence[Mapping[str, Any]]) -> None:
        """Save the position and the writes in one transaction, or the position alone with UpdateItem.

        Raise `PositionChanged` if the position isn't `before`, if another transaction conflicts with this one, or if
        this one was canceled because of throttling; `WriteConditionFailed` if only a condition of `writes` isn't true;
        and the client's errors.
        """
        update = _update(self._table_name, subject, before, after)
        try:
            if writes:
                self._client.transact_write_items(TransactItems=[{"Update": update}, *writes])
            else:
                self._client.update_item(**update)
        except Exception as error:
            # botocore isn't imported: its classes of errors are made at run time, and a code identifies each of them.
            code = _code(error)
            if code == "ConditionalCheckFailedException" or code in _CONFLICTS:
                raise PositionChanged from error
            if code == "TransactionCanceledException":
                _raise_canceled(error)
            raise


def _raise_canceled(error: Exception) -> None:
    """Raise the error for the reasons of a canceled transaction: one per item, in their order."""
    reasons = getattr(error, "response", {}).get("CancellationReasons")
    codes = [it.get("Code") for it in reasons] if isinstance(reasons, list) else []
    if codes[:1] == ["ConditionalCheckFailed"] or any(code in _CONFLICTS | _THROTTLED for code in codes):
        raise PositionChanged from error
    for number, code in enumerate(codes):
        if code == "ConditionalCheckFailed":
            raise WriteConditionFailed(f"write {number - 1}") from error


def _code(error: Exception) -> str | None:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    code = response.get("Error", {}).get("Code")
    return code if isinstance(code, str) else None


def _update(table_name: str, subject: str, before: Position, after: Position) -> dict[str, Any]:
    """Return the update of the position's item, as UpdateItem and TransactWriteItems have it.

    Its condition includes the gap: a gap that another invocation has stored since must not be removed.
    """
    # Names without "#" would need a check against DynamoDB's reserved words; State is one of them.
    names = {"#Sequence": "Sequence", "#SeenThrough": "SeenThrough"}
    values: dict[str, dict[str, str]] = {}
    conditions = []
    for name, value in (("Sequence", before.sequence), ("SeenThrough", before.gap.seen if before.gap else 0)):
        if value:
            conditions.append(f"#{name} = :Before{name}")
            values[f":Before{name}"] = {"N": str(value)}
        else:
            conditions.append(f"attribute_not_exists(#{name})")

    gap = after.gap
    attributes: dict[str, dict[str, str] | None] = {
        "Sequence": {"N": str(after.sequence)} if after.sequence else None,
        "State": None if after.state is None else {"S": after.state},
        "Missing": {"N": str(gap.missing)} if gap else None,
        "SeenThrough": {"N": str(gap.seen)} if gap else None,
        "GapSince": {"S": gap.since} if gap and gap.since is not None else None,
    }
    assigned, removed = [], []
    for name, attribute in attributes.items():
        names[f"#{name}"] = name
        if attribute is None:
            removed.append(f"#{name}")
        else:
            assigned.append(f"#{name} = :{name}")
            values[f":{name}"] = attribute
    clauses = [f"SET {', '.join(assigned)}"] if assigned else []
    clauses += [f"REMOVE {', '.join(removed)}"] if removed else []
    update: dict[str, Any] = {
        "TableName": table_name,
        "Key": {"Subject": {"S": subject}},
        "UpdateExpression": " ".join(clauses),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": names,
    }
    if values:
        update["ExpressionAttributeValues"] = values
    return update


def _position(item: Mapping[str, Mapping[str, Any]]) -> Position:
    sequence = _number(item, "Sequence")
    missing, seen, since = _number(item, "Missing"), _number(item, "SeenThrough"), _string(item, "GapSince")
    gap = None
    if missing is not None and seen is not None:
        gap = PositionGap(missing, seen, since)
    elif seen is not None:
        raise InvalidPosition("Missing is absent, and SeenThrough is present")
    elif missing is not None:
        raise InvalidPosition("SeenThrough is absent, and Missing is present")
    return Position(sequence or 0, _string(item, "State"), gap)


def _number(item: Mapping[str, Mapping[str, Any]], name: str) -> int | None:
    if name not in item:
        return None
    digits = item[name].get("N")
    if not isinstance(digits, str) or not digits.isascii() or not digits.isdigit():
        raise InvalidPosition(f"{name} is not an integer")
    if not 1 <= (number := int(digits)) <= MAX_SEQUENCE:
        raise InvalidPosition(f"{name} is not from 1 to 2^53-1")
    return number


def _string(item: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    if name not in item:
        return None
    value = item[name].get("S")
    if not isinstance(value, str):
        raise InvalidPosition(f"{name} is not a string")
    return value
