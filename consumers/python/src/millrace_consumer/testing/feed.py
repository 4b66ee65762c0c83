"""The hostile feed: delivers histories to a handler as Kinesis and Lambda may deliver them at worst."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from .invocations import Fault, IdleInvocation, Invocation, Invocations, Proxy
from .stream import ExpectedEvent, HistoryEvent, Record, batch_event, make_stream

T = TypeVar("T")

_FAULTY_DELIVERIES = 6
"""The most deliveries of a batch and its parts that have faults: so a correct handler completes every batch."""
_CONCURRENT_CHANCE = 0.35
_PREVIOUS_BATCH_CHANCE = 0.4
_LATE_CHANCE = 0.5
_STALL_CHANCE = 0.4
_STALLING_WEIGHT = 8
_REDELIVERY_CHANCE = 0.15
_BISECTION_CHANCE = 0.5
_FAULT_CHANCE = 0.4
_LOST_RESPONSE_CHANCE = 0.1


class FeedFailure(AssertionError):
    """The handler broke a rule. The message names the seed."""


@dataclass
class FeedReport:
    """How often each fault happened."""

    records: int = 0
    """Records of the stream, with duplicates."""
    deliveries: int = 0
    """Invocations of the handler."""
    redeliveries: int = 0
    """Batches that were delivered again although they were completed."""
    partial_responses: int = 0
    """Responses that reported a record."""
    bisections: int = 0
    """Batches that were divided in two after an error."""
    concurrent_invocations: int = 0
    """Deliveries to two invocations at once."""
    late_invocations: int = 0
    """Invocations that went on while the next ones began."""
    kills_before: int = 0
    """Invocations that were killed before a call took effect."""
    kills_after: int = 0
    """Invocations that were killed after a call took effect."""
    failed_calls: int = 0
    """Calls that failed while their invocation went on."""
    lost_responses: int = 0
    """Invocations that ended normally, and whose response was lost."""


class HostileFeed:
    """Delivers histories to a handler as Kinesis and Lambda may deliver them at worst.

    The stream has duplicates, undecodable records and events of an unknown type. The deliveries have redeliveries,
    partial redeliveries, bisected batches, two invocations at once, calls that fail, and invocations that are killed.

    ```python
    history = [HistoryEvent("AccountCreated", {"accountId": "a", "currency": "EUR"})]
    feed = HostileFeed(seed, {"a": history}, source=SOURCE)
    positions = feed.wrap(MemoryPositions())
    consumer = Consumer(source=SOURCE, types=TYPES, handler=handle, positions=positions, on_undecodable=store)
    feed.run(consumer.process)
    # Compare the effects with feed.expected.
    ```

    The same seed has the same stream. It has the same faults, too, as long as each invocation runs in one thread
    (`Consumer(concurrency=1)`) and waits for nothing else than wrapped calls. The handler is called in threads. A feed
    runs once.
    """

    def __init__(
        self,
        seed: int,
        histories: Mapping[str, Sequence[HistoryEvent]],
        *,
        source: str,
        gaps: bool = False,
        undecodable: bool = True,
        unknown_types: bool = True,
        kills: bool = True,
        failing_calls: bool = True,
        concurrency: bool = True,
        batch_size: int = 10,
        max_deliveries: int = 25,
        idle_seconds: float = 60.0,
    ) -> None:
        """Make the stream.

        - `seed` decides all faults.
        - `histories`: the events of each aggregate, by its id, in order. The feed adds `sequence` to their data.
        - `source`: the `source` of the events.
        - `gaps`: whether events of some aggregates are missing at first, and the histories of these aggregates are
          sent again at the end. Some of the missing events may arrive late before that.
        - `undecodable`, `unknown_types`: whether the stream contains such records and events.
        - `kills`, `failing_calls`: whether calls of wrapped objects kill their invocation, or fail.
        - `concurrency`: whether two invocations run at once. They take turns at the calls of wrapped objects.
        - `batch_size`: the most records of a batch, from 1 on.
        - `max_deliveries`: how often records are delivered without progress until the feed fails, from 10 on.
        - `idle_seconds`: how long an invocation may neither return nor make a wrapped call until the feed fails.
        """
        if batch_size < 1:
            raise ValueError("batch_size is less than 1")
        if max_deliveries < 10:
            raise ValueError("max_deliveries is less than 10")
        self.seed = seed
        self._rng = random.Random(seed)
        stream = make_stream(
            self._rng, histories, source, undecodable=undecodable, unknown_types=unknown_types, gaps=gaps
        )
        self.expected: Mapping[str, Sequence[ExpectedEvent]] = stream.expected
        """The events that have to act exactly once, by aggregate, in order. Their sequences count the events of unknown
        types, too."""
        self.positions: Mapping[str, int] = stream.positions
        """The position of each aggregate at the end."""
        self.undecodable: Mapping[str, bytes] = stream.undecodable
        """The bytes of the undecodable records, by `eventID`. Each one has to be stored at least once."""
        self.report = FeedReport(records=len(stream.records))
        """How often each fault happened."""
        self._records = stream.records
        self._replay = stream.replay
        self._gaps = stream.gaps
        self._invocations = Invocations(self._rng, idle_seconds)
        self._kills = kills
        self._failing_calls = failing_calls
        self._concurrency = concurrency
        self._batch_size = batch_size
        self._max_deliveries = max_deliveries
        self._calls = 0
        """The calls of the invocations until now."""
        self._delivered_records = 0
        """The records of these invocations."""
        self._late: list[tuple[Invocation, Sequence[Record]]] = []
        self._last_error: BaseException | None = None
        self._has_run = False

    def wrap(self, wrapped: T) -> T:
        """Return a proxy of a client, a position store or a function.

        Each call of its methods is a point at which the feed may switch to another invocation, make the call fail
        (`CallFailed`), or kill the invocation (`Killed`), before or after the call takes effect. All further calls of
        a killed invocation raise `Killed`. Calls outside of an invocation have no faults.
        """
        return cast(T, Proxy(wrapped, self._invocations))

    def run(
        self,
        handler: Callable[[dict[str, Any]], object],
        recorded_gaps: Callable[[], Mapping[str, tuple[int, int]]] | None = None,
    ) -> None:
        """Deliver all records to the handler, until each one was completed.

        The handler gets Lambda's event. Raise `FeedFailure` if its response isn't valid, if it doesn't complete
        a batch, or if it hangs; and if no call went through `wrap`, unless `kills`, `failing_calls` and `concurrency`
        are off: without such calls, none of these faults can happen. A call that is made in a thread counts if the
        thread has the context variables of its invocation.

        `recorded_gaps` returns the gaps that the handler has stored: for each aggregate with a gap, the first missing
        sequence and the highest one that was skipped (`Missing` and `SeenThrough` of `DynamoDBPositions`). It is called
        once, before the histories are sent again, because an operator sends only what a recorded gap asks for. Raise
        `FeedFailure` if a gap is absent, is another one, or shouldn't be there. Without `recorded_gaps`, all histories
        with missing events are sent again whatever was recorded.
        """
        if self._has_run:
            raise RuntimeError("a feed runs once")
        self._has_run = True
        previous: Sequence[Record] = []
        first = 0
        try:
            while first < len(self._records):
                if first == self._replay:
                    self._invocations.finish_all()
                    self._check_gaps(recorded_gaps)
                # The replay begins after everything else was processed.
                end = self._replay if first < self._replay else len(self._records)
                batch = self._records[first : min(end, first + self._rng.randint(1, self._batch_size))]
                self._complete(handler, batch, previous)
                previous = batch
                first += len(batch)
            self._invocations.finish_all()
            self._check_late()
            self._check_wrapped()
        except IdleInvocation:
            raise self._failure("an invocation neither returned nor made a wrapped call for too long") from None
        finally:
            for name, count in self._invocations.fault_counts.items():
                setattr(self.report, name, count)

    def _check_gaps(self, recorded_gaps: Callable[[], Mapping[str, tuple[int, int]]] | None) -> None:
        if recorded_gaps is None:
            return
        recorded = recorded_gaps()
        for subject in sorted(self._gaps.keys() | recorded.keys()):
            expected = self._gaps.get(subject)
            actual = recorded.get(subject)
            if actual is None or expected is None or tuple(actual) != expected:
                raise self._failure(
                    f"the aggregate {subject}: the recorded gap is {_gap_text(actual)}, expected {_gap_text(expected)}"
                )

    def _check_wrapped(self) -> None:
        has_faults = self._kills or self._failing_calls or self._concurrency
        if has_faults and self._records and not self._invocations.has_calls:
            raise self._failure(
                "no call went through feed.wrap: the handler's clients have to be the ones that feed.wrap returned, "
                "otherwise no call can fail, and no invocation can be killed or wait for another one"
            )

    def verify(self, acted: Mapping[str, Iterable[int]]) -> None:
        """Check that each event acted exactly once and in order.

        `acted` contains the sequences of the events that acted, by aggregate, in the order of their effects. Raise
        `FeedFailure` if they aren't the ones of `expected`.
        """
        for subject in self.expected.keys() | acted.keys():
            expected = [event.sequence for event in self.expected.get(subject, ())]
            actual = list(acted.get(subject, ()))
            if actual != expected:
                raise self._failure(f"the aggregate {subject}: the events {actual} acted, expected {expected}")

    def _complete(
        self, handler: Callable[[dict[str, Any]], object], batch: Sequence[Record], previous: Sequence[Record]
    ) -> None:
        """Deliver a batch until it is completed."""
        faulty_deliveries = self._rng.randint(0, _FAULTY_DELIVERIES)
        parts = [batch]
        stalled = 0
        while parts:
            part = parts.pop(0)
            is_faulty = faulty_deliveries > 0
            faulty_deliveries -= 1
            first_incomplete = self._deliver(handler, part, previous, is_faulty)
            if first_incomplete == len(part):
                stalled = 0
                continue
            stalled = 0 if first_incomplete else stalled + 1
            if stalled == self._max_deliveries:
                raise self._failure(f"{len(part)} records were delivered {stalled} times without progress")
            if first_incomplete is None and len(part) > 1 and self._rng.random() < _BISECTION_CHANCE:
                self.report.bisections += 1
                parts[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
            else:
                parts.insert(0, part[first_incomplete or 0 :])
        if self._rng.random() < _REDELIVERY_CHANCE:
            self.report.redeliveries += 1
            self._deliver(handler, batch, previous, is_faulty=True)

    def _deliver(
        self,
        handler: Callable[[dict[str, Any]], object],
        part: Sequence[Record],
        previous: Sequence[Record],
        is_faulty: bool,
    ) -> int | None:
        """Deliver records to an invocation, with or without a second one at the same time.

        Return the index of the first incomplete record, the number of the records if all are completed, or `None` after
        an error.
        """
        invocation = self._invocation(part, is_faulty)
        if is_faulty and self._concurrency and self._rng.random() < _CONCURRENT_CHANCE:
            self.report.concurrent_invocations += 1
            # The previous batch is completed: otherwise Lambda wouldn't deliver this one.
            other = previous if previous and self._rng.random() < _PREVIOUS_BATCH_CHANCE else part
            second = self._invocation(other, is_faulty)
            stalls = self._rng.random() < _STALL_CHANCE
            if stalls:
                # It reads, and goes on with what it has read after the next batches.
                second.weight, second.stalls_after = _STALLING_WEIGHT, self._rng.randint(1, 2)
            self._invocations.start(handler, [invocation, second])
            self._late.append((second, other))
            self._invocations.run_until_finished(invocation)
            if not stalls and self._rng.random() < _LATE_CHANCE:
                self._invocations.run_until_finished(second)
        else:
            self._invocations.start(handler, [invocation])
            self._invocations.run_until_finished(invocation)
        self._calls += invocation.calls
        self._delivered_records += len(part)
        self._check_late()
        first_incomplete = self._first_incomplete(invocation, part)
        if is_faulty and first_incomplete is not None and self._rng.random() < _LOST_RESPONSE_CHANCE:
            self.report.lost_responses += 1
            return None
        return first_incomplete

    def _invocation(self, part: Sequence[Record], is_faulty: bool) -> Invocation:
        self.report.deliveries += 1
        # An invocation probably has about this number of calls: a fault should happen at any of them.
        calls = 4 if self._calls == 0 else math.ceil(self._calls / self._delivered_records * len(part))
        faults = []
        for is_possible, is_kill in ((self._kills, True), (self._failing_calls, False)):
            if is_faulty and is_possible and self._rng.random() < _FAULT_CHANCE:
                first, is_after = self._rng.randint(1, calls + 1), self._rng.random() < 0.5
                # Some failures last for two calls: so a handler that repeats a call fails, too.
                count = 1 if is_kill else self._rng.randint(1, 2)
                faults += [Fault(first + number, is_kill, is_after) for number in range(count)]
        return Invocation(batch_event(part), faults, weight=self._rng.choice([1, 1, 8]))

    def _check_late(self) -> None:
        """Validate the responses of the second invocations that have finished. Lambda ignores them."""
        running = [it for it in self._late if not it[0].is_finished]
        for invocation, part in self._late:
            if invocation.is_finished:
                self._first_incomplete(invocation, part)
        self.report.late_invocations += len(running)
        self._late = running

    def _first_incomplete(self, invocation: Invocation, part: Sequence[Record]) -> int | None:
        """Return the index of the first record that the response reports; `None` after an error."""
        if invocation.is_killed:
            return None
        if invocation.error is not None:
            self._last_error = invocation.error
            return None
        response = invocation.response
        try:
            json.dumps(response)
        except (TypeError, ValueError):
            raise self._failure("the response can't be written as JSON") from None
        if not isinstance(response, dict) or not isinstance(response.get("batchItemFailures"), list):
            raise self._failure("the response has no list batchItemFailures")
        indexes = {record.sequence_number: index for index, record in enumerate(part)}
        reported = []
        for failure in response["batchItemFailures"]:
            identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
            if not isinstance(identifier, str) or identifier not in indexes:
                raise self._failure("the response reports a record that isn't in the batch")
            reported.append(indexes[identifier])
        if reported:
            self.report.partial_responses += 1
        # If a response reports several records, Lambda uses the one with the lowest sequence number.
        return min(reported, default=len(part))

    def _failure(self, message: str) -> FeedFailure:
        failure = FeedFailure(f"seed {self.seed}: {message}")
        failure.__cause__ = self._last_error
        return failure


def _gap_text(gap: tuple[int, int] | None) -> str:
    return "none" if gap is None else f"from {gap[0]}, skipped up to {gap[1]}"
