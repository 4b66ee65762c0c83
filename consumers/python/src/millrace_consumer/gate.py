"""The sequence gate: whether an event is the next one for a consumer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Next:
    """The event comes next: apply it."""


@dataclass(frozen=True)
class Duplicate:
    """The event was applied before: skip it."""


@dataclass(frozen=True)
class Gap:
    """Events before this one are missing: apply nothing of the aggregate until they have arrived."""

    missing: int
    """The first sequence that is missing: one more than the last applied one."""


Gate = Next | Duplicate | Gap
"""What an event is to a consumer."""


def check(applied: int, event: int) -> Gate:
    """Compare an event's sequence with the position.

    `applied` is the sequence of the last applied event of the aggregate, and 0 before the first one; `event` is the
    sequence of the event, from 1 on.
    """
    if event <= applied:
        return Duplicate()
    if event == applied + 1:
        return Next()
    return Gap(missing=applied + 1)
