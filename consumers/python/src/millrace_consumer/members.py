"""Reading the members of an event's data strictly. The classes of `millrace_consumer.generate` use it.

A reader is a function that gets a value from JSON and its path, such as `lines[0].sku`, and returns the value. If the
value isn't what the reader expects, it raises `InvalidData`, whose message contains the path and never the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")

Reader = Callable[[Any, str], T]
"""Reads a value."""


class InvalidData(ValueError):
    """The data of an event doesn't conform to its schema. The message names the member and contains no values."""


def members(value: Any, path: str = "") -> Mapping[str, Any]:
    """Return the members of an object."""
    if not isinstance(value, dict):
        raise InvalidData(f"{path or 'the data'} is not an object")
    return value


def required(source: Mapping[str, Any], name: str, reader: Reader[T], path: str = "") -> T:
    """Read a member that is always present."""
    if name not in source:
        raise InvalidData(f"{_join(path, name)} is missing")
    return reader(source[name], _join(path, name))


@overload
def optional(source: Mapping[str, Any], name: str, reader: Reader[T], path: str = "") -> T | None: ...
# mypy removes None from T, unless the reader's type has it.
@overload
def optional(  # type: ignore[overload-cannot-match]
    source: Mapping[str, Any], name: str, reader: Reader[T | None], path: str = ""
) -> T | None: ...
def optional(source: Mapping[str, Any], name: str, reader: Reader[T], path: str = "") -> T | None:
    """Read a member that may be absent. Return `None` if it is. A member that is `null` isn't absent."""
    if name not in source:
        return None
    return reader(source[name], _join(path, name))


def string(*, min_length: int | None = None, max_length: int | None = None, pattern: str | None = None) -> Reader[str]:
    """Read a string: the lengths count Unicode characters, and the pattern is one of Python's `re`, in ASCII mode."""
    compiled = None if pattern is None else re.compile(pattern, re.ASCII)

    def read(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise InvalidData(f"{path} is not a string")
        if min_length is not None and len(value) < min_length:
            raise InvalidData(f"{path} has fewer than {min_length} characters")
        if max_length is not None and len(value) > max_length:
            raise InvalidData(f"{path} has more than {max_length} characters")
        if compiled is not None and not compiled.search(value):
            raise InvalidData(f"{path} does not match its pattern")
        return value

    return read


def integer(*, minimum: int | None = None, maximum: int | None = None) -> Reader[int]:
    """Read an integer. Neither a boolean nor a number with a fraction or an exponent is one."""

    def read(value: Any, path: str) -> int:
        if type(value) is not int:
            raise InvalidData(f"{path} is not an integer")
        _check_range(value, path, minimum, maximum)
        return value

    return read


def number(*, minimum: float | None = None, maximum: float | None = None) -> Reader[float]:
    """Read a number, which may have a fraction. A number that `float` can't represent, such as 1e400, isn't one."""

    def read(value: Any, path: str) -> float:
        if type(value) not in (int, float):
            raise InvalidData(f"{path} is not a number")
        _check_finite(value, path)
        _check_range(value, path, minimum, maximum)
        result: float = value
        return result

    return read


def boolean(value: Any, path: str) -> bool:
    """Read a boolean."""
    if not isinstance(value, bool):
        raise InvalidData(f"{path} is not a boolean")
    return value


def null(value: Any, path: str) -> None:
    """Read `null`."""
    if value is not None:
        raise InvalidData(f"{path} is not null")


def anything(value: Any, path: str) -> Any:
    """Read any value, without numbers that `float` can't represent."""
    _check_finite(value, path)
    return value


def one_of(*values: T) -> Reader[T]:
    """Read one of these values."""

    def read(value: Any, path: str) -> T:
        for allowed in values:
            # True equals 1 in Python.
            if type(value) is type(allowed) and value == allowed:
                return allowed
        raise InvalidData(f"{path} is not one of the allowed values")

    return read


def array(reader: Reader[T], *, min_items: int | None = None, max_items: int | None = None) -> Reader[tuple[T, ...]]:
    """Read an array as a tuple."""

    def read(value: Any, path: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise InvalidData(f"{path} is not an array")
        if min_items is not None and len(value) < min_items:
            raise InvalidData(f"{path} has fewer than {min_items} items")
        if max_items is not None and len(value) > max_items:
            raise InvalidData(f"{path} has more than {max_items} items")
        return tuple(reader(item, f"{path}[{index}]") for index, item in enumerate(value))

    return read


def mapping(reader: Reader[T]) -> Reader[Mapping[str, T]]:
    """Read an object with any members, whose values have one type."""

    def read(value: Any, path: str) -> Mapping[str, T]:
        # The members' names come from the event, so they aren't part of the path, which is logged.
        return {name: reader(item, f"{path}.*") for name, item in members(value, path).items()}

    return read


def either(first: Reader[T], second: Reader[U]) -> Reader[T | U]:
    """Read a value with the first reader, or with the second one if the first refuses it."""

    def read(value: Any, path: str) -> T | U:
        for reader in (first, second):
            try:
                return reader(value, path)
            except InvalidData:
                continue
        raise InvalidData(f"{path} is none of the allowed types")

    return read


def nullable(reader: Reader[T]) -> Reader[T | None]:
    """Read a value with the reader, or `null`."""

    def read(value: Any, path: str) -> T | None:
        return None if value is None else reader(value, path)

    return read


def _check_finite(value: Any, path: str) -> None:
    """Refuse infinity, as which Python reads 1e400, also within objects and arrays: JSON doesn't have it."""
    open_values = [value]
    while open_values:
        it = open_values.pop()
        if isinstance(it, float) and not math.isfinite(it):
            raise InvalidData(f"{path} is or contains a number out of range")
        if isinstance(it, (dict, list)):
            open_values.extend(it.values() if isinstance(it, dict) else it)


def _check_range(value: float, path: str, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and value < minimum:
        raise InvalidData(f"{path} is less than {minimum}")
    if maximum is not None and value > maximum:
        raise InvalidData(f"{path} is greater than {maximum}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
