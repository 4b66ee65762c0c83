"""Positions: which event of an aggregate was applied last, and the consumer's state of the aggregate."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


@dataclass(frozen=True)
class PositionGap:
    """Events of an aggregate that have to be sent again, by `millrace replay`."""

    missing: int
    """The first missing sequence: one more than the position."""
    seen: int
    """The highest sequence that was skipped after a gap. The gap is closed when the position reaches it."""
    since: str | None
    """When the gap was found first: RFC 3339 in UTC, with milliseconds. It is `None` if another writer of the item
    didn't store it."""


@dataclass(frozen=True)
class Position:
    """The position of an aggregate."""

    sequence: int = 0
    """The sequence of the last applied event; 0 if none was applied."""
    state: str | None = None
    """The consumer's state of the aggregate as JSON; `None` if it has none."""
    gap: PositionGap | None = None
    """The gap, if events are missing."""


class PositionChanged(Exception):
    """The position isn't the one that was read, another transaction is changing it, or saving it was throttled.

    The consumer waits a little, reads the position again and decides again.
    """


W = TypeVar("W")
W_contra = TypeVar("W_contra", contravariant=True)


class Positions(Protocol[W_contra]):
    """A store of positions. Its methods may be called by several threads at the same time."""

    @property
    def max_writes(self) -> int | None:
        """How many writes `save` accepts at most; `None` if there is no limit."""

    def read(self, subject: str) -> Position:
        """Read the position of an aggregate with a consistent read.

        Return `Position()` if there is none. Every error makes the aggregate incomplete.
        """

    def save(self, subject: str, before: Position, after: Position, writes: Sequence[W_contra]) -> None:
        """Save the position and the writes in one transaction.

        The condition is that the stored sequence and the stored gap are still the ones of `before`. Raise
        `PositionChanged` if they aren't, or if the same transaction may succeed soon, for example after throttling.
        After every other error, the consumer saves the events one at a time to find the one that can't be saved, and
        then the aggregate is incomplete from this event on. An error may also mean that the outcome is unknown, for
        example after a timeout.
        """


class MemoryPositions(Generic[W]):
    """Positions in memory, for tests. The writes are collected in `writes`.

    An event may have as many writes as with `DynamoDBPositions`, so that a test fails as the service would.
    """

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        """The position of each aggregate."""
        self.writes: list[W] = []
        """All writes, in the order in which they were saved."""
        self._lock = threading.Lock()

    @property
    def max_writes(self) -> int | None:
        """The limit of `DynamoDBPositions`."""
        return 99

    def read(self, subject: str) -> Position:
        """Read the position of an aggregate."""
        with self._lock:
            return self.positions.get(subject, Position())

    def save(self, subject: str, before: Position, after: Position, writes: Sequence[W]) -> None:
        """Save the position and the writes."""
        with self._lock:
            stored = self.positions.get(subject, Position())
            if (stored.sequence, stored.gap) != (before.sequence, before.gap):
                raise PositionChanged
            self.positions[subject] = after
            self.writes.extend(writes)
