"""What a record of the domain stream is to a consumer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, Protocol, TypeVar


class EventData(Protocol):
    """The class of the data of one type and version of an event. `millrace_consumer.generate` writes such classes."""

    @classmethod
    def from_data(cls, data: Mapping[str, Any], /) -> Any:
        """Create an object from the member `data` of an event.

        Raise `ValueError` with a reason that contains no values of `data`: the reason is logged.
        """


T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Event(Generic[T_co]):
    """An event of a known type and version."""

    id: str
    """`<subject>:<sequence>`: unique to the event, and the same in every duplicate."""
    type: str
    """What happened, such as `BalanceWithdrawn`."""
    version: int
    """The version of the type, from 1 on."""
    subject: str
    """The aggregate's id: 1 to 256 characters. It is opaque: don't parse it, and don't log it."""
    sequence: int
    """The number of the event in its aggregate's history, from 1 to 2^53-1."""
    time: str
    """When it happened, in RFC 3339, as in the record. `occurred_at` is the same time as a `datetime`."""
    correlation_id: str | None
    """The id that all events of one business transaction share."""
    causation_id: str | None
    """The id of the command or event that caused the event."""
    trace_parent: str | None
    """The writer's span for the command, as in W3C Trace Context; `None` if it is malformed."""
    data: T_co
    """The event's data: an object of the class in the consumer's `types`."""

    @property
    def occurred_at(self) -> datetime:
        """When it happened: a time in UTC with microseconds; further digits are dropped."""
        occurred_at = parse_time(self.time)
        if occurred_at is None:
            raise ValueError("time is not a time in RFC 3339")
        return occurred_at


@dataclass(frozen=True)
class Unknown:
    """An event of a type or version that the consumer doesn't know. Only its envelope was read."""

    id: str
    type: str
    version: int
    subject: str
    sequence: int
    is_known_type: bool
    """Whether the consumer knows another version of the type."""


@dataclass(frozen=True)
class Undecodable:
    """A record that isn't an event that the consumer can read."""

    reason: str
    """What is wrong. It names members and contains nothing of the record, so it may be logged."""
    data: bytes
    """The record's bytes."""


Decoded = Event[T_co] | Unknown | Undecodable
"""What `decode` returns."""


_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-5][0-9]):([0-5][0-9]|60)(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
)


def parse_time(text: str) -> datetime | None:
    """Read a time in RFC 3339 (section 5.6). Return it in UTC, or `None` if it isn't one.

    A leap second is read as the second before it, because `datetime` has none.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, time, second, fraction, offset = match.groups()
    is_leap_second = second == "60"
    microseconds = ((fraction or "") + "000000")[:6]
    written = f"{date}T{time}:{'59' if is_leap_second else second}.{microseconds}{offset or '+00:00'}"
    try:
        parsed = datetime.fromisoformat(written).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    if is_leap_second and (parsed.hour, parsed.minute) != (23, 59):
        return None
    return parsed
