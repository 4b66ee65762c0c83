"""The consumer: processes a batch of the domain stream, so that each event takes effect exactly once."""

from __future__ import annotations

import contextvars
import inspect
import json
import logging
import random
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from .batch import BatchResponse, UnusableRecord, UserRecord, read_batch, respond
from .decode import decode
from .event import Event, EventData, Undecodable, Unknown
from .gate import Duplicate, Next, check
from .positions import Position, PositionChanged, PositionGap, Positions

logger = logging.getLogger("millrace_consumer")

T = TypeVar("T", bound=EventData)
S = TypeVar("S")
W = TypeVar("W")

MAX_ATTEMPTS = 6
"""The most attempts for an aggregate, including the first one, if other invocations change its position each time."""

# The backoff before repetition n is a random time up to the base times 2^(n-1). Another invocation needs about as long
# for a transaction.
_BACKOFF_SECONDS = 0.02

DEFAULT_CONCURRENCY = 10
"""How many aggregates are processed at the same time: as many as a client of boto3 has connections."""

S_co = TypeVar("S_co", covariant=True)
W_co = TypeVar("W_co", covariant=True)


@dataclass(frozen=True)
class Change(Generic[S_co, W_co]):
    """What an event changes."""

    state: S_co | None
    """The consumer's new state of the aggregate, or `None` if it has none. It is a value that `json` writes and reads
    back unchanged: text, numbers (neither NaN nor infinity), booleans, `None`, lists, and dicts whose keys are strings.
    A tuple becomes a list."""
    writes: Sequence[W_co] = ()
    """The writes that belong to the event, saved in one transaction with the position. For `DynamoDBPositions`, each
    is an entry of TransactWriteItems: at most 99 per event."""


@dataclass(frozen=True)
class UndecodableRecord:
    """A record that isn't an event that the consumer can read."""

    position: int
    """The number of the Kinesis record in the batch, from 0 on."""
    event_id: str
    """Lambda's id of the Kinesis record: shard and sequence number; without one, the sequence number. It is the same
    in each delivery."""
    data: bytes
    """The record's bytes."""
    reason: str
    """What is wrong. It contains nothing of the record, so it may be logged."""


Handler = Callable[[Event[T], S | None], Change[S, W]]
"""Applies an event: gets the event and the consumer's state of its aggregate (`None` before the first one), and returns
the change.

It is called again with the same event after a crash, or if another invocation has changed the position. So it must not
have effects of its own: each effect is one of the returned writes. If it raises an exception, the aggregate is
incomplete from this event on, and Lambda delivers the event again. It may change the state that it gets.

Handlers of different aggregates run in several threads, unless the consumer's `concurrency` is 1. A handler that uses
only its arguments and constants, and clients of boto3, needs nothing for that.
"""


class InvalidChange(Exception):
    """A handler returned something else than a `Change` that can be saved. The aggregate is incomplete."""


class _AwaitableResult(Exception):
    """A function that isn't awaited returned an awaitable, so it hasn't done its work."""


class Consumer(Generic[T, S, W]):
    """Consumes domain events: each event of a known type takes effect exactly once, in the order of its aggregate.

    Create it once, when the Lambda function starts, and call `process` with each event of Lambda. It has no mutable
    state, so several threads may use it.
    """

    def __init__(
        self,
        *,
        source: str,
        types: Mapping[tuple[str, int], type[T]],
        handler: Handler[T, S, W],
        positions: Positions[W],
        on_undecodable: Callable[[UndecodableRecord], object],
        concurrency: int = DEFAULT_CONCURRENCY,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Configure the consumer.

        - `source`: the `source` of the domain's events, such as `urn:millrace:accounts`. Other records are undecodable.
        - `types`: the class of each type and version that the handler applies. An event of another type counts as
          applied. An event of another version of one of these types is skipped, and all later events of the aggregate.
        - `handler`: applies an event. It isn't a coroutine function.
        - `positions`: where the positions are stored.
        - `on_undecodable`: stores an undecodable record. It may get the same record more than once. If it raises
          an exception or returns an awaitable, Lambda delivers the record again; otherwise the record is completed.
          It isn't a coroutine function: nothing would await it. It is called in the thread of `process`.
        - `concurrency`: how many aggregates are processed at the same time, from 1 on. With more than 1, the
          handler and the positions are called from several threads. The default, 10, is the number of connections
          of a boto3 client: more would wait for a connection.
        - `clock` (an aware time), `sleep` (seconds) and `jitter` (from 0 to below 1): for tests.
        """
        if concurrency < 1:
            raise ValueError("concurrency is less than 1")
        for name, function in (("handler", handler), ("on_undecodable", on_undecodable)):
            if _is_coroutine_function(function):
                raise TypeError(f"{name} is a coroutine function; it has to be a function that isn't async")
        self._source = source
        self._types = dict(types)
        self._handler = handler
        self._positions = positions
        self._on_undecodable = on_undecodable
        self._concurrency = concurrency
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def process(self, lambda_event: Mapping[str, Any]) -> BatchResponse:
        """Process one batch.

        Return the partial batch response: it contains the first incomplete record, which Lambda delivers again with
        all later ones, or none if all are completed. Raise `InvalidBatch` if the event isn't a batch of Kinesis
        records. No other exception leaves the method: an error makes one aggregate or one record incomplete.
        """
        counters = _Counters()
        incomplete: list[int] = []
        aggregates: dict[str, list[_Delivered[T]]] = {}
        records = read_batch(lambda_event)
        for record in records:
            if isinstance(record, UnusableRecord):
                logger.error("the record %s has no data in base64; it will be delivered again", record.event_id)
                incomplete.append(record.position)
                continue
            decoded = decode(record.data, source=self._source, types=self._types)
            if isinstance(decoded, Undecodable):
                if not self._store_undecodable(record, decoded, counters):
                    incomplete.append(record.position)
                continue
            delivered = _Delivered(record.position, record.event_id, decoded)
            aggregates.setdefault(decoded.subject, []).append(delivered)

        for outcome in self._process_aggregates(list(aggregates.values())):
            counters.add(outcome.counters)
            if outcome.first_incomplete is not None:
                incomplete.append(outcome.first_incomplete)
        logger.info(
            "processed a batch: records=%d aggregates=%d applied=%d duplicates=%d unknown=%d skipped=%d undecodable=%d "
            "incomplete=%d",
            len(records),
            len(aggregates),
            counters.applied,
            counters.duplicates,
            counters.unknown,
            counters.skipped,
            counters.undecodable,
            len(incomplete),
        )
        return respond(lambda_event, min(incomplete, default=None))

    def _store_undecodable(self, record: UserRecord, decoded: Undecodable, counters: _Counters) -> bool:
        undecodable = UndecodableRecord(record.position, record.event_id, decoded.data, decoded.reason)
        try:
            _refuse_awaitable(self._on_undecodable(undecodable))
        except Exception as error:
            logger.error(
                "storing the undecodable record %s failed (%s); it will be delivered again",
                record.event_id,
                _describe(error),
            )
            return False
        counters.undecodable += 1
        logger.warning("the record %s is undecodable: %s", record.event_id, decoded.reason)
        return True

    def _process_aggregates(self, aggregates: list[list[_Delivered[T]]]) -> list[_Outcome]:
        tasks = [_AggregateBatch(self, delivered) for delivered in aggregates]
        if self._concurrency == 1 or len(tasks) < 2:
            return [task.process() for task in tasks]
        with ThreadPoolExecutor(min(self._concurrency, len(tasks))) as pool:
            # Context variables, such as those of a tracer, have the same values as in the invocation's thread.
            futures = [pool.submit(contextvars.copy_context().run, task.process) for task in tasks]
            return [future.result() for future in futures]


@dataclass(frozen=True)
class _Delivered(Generic[T]):
    """An event of the batch."""

    position: int
    event_id: str
    event: Event[T] | Unknown


@dataclass
class _Counters:
    """What an invocation measured, in events; for undecodable, in records."""

    applied: int = 0
    duplicates: int = 0
    unknown: int = 0
    skipped: int = 0
    undecodable: int = 0

    def add(self, other: _Counters) -> None:
        self.applied += other.applied
        self.duplicates += other.duplicates
        self.unknown += other.unknown
        self.skipped += other.skipped
        self.undecodable += other.undecodable


@dataclass(frozen=True)
class _Outcome:
    """The result of an aggregate's events in a batch."""

    first_incomplete: int | None
    counters: _Counters


@dataclass(frozen=True)
class _Step(Generic[W]):
    """An event that was applied and not saved yet."""

    index: int
    """The number of the event among the aggregate's events in the batch."""
    sequence: int
    state: str | None
    writes: tuple[W, ...]
    skipped_before: int
    """The highest sequence that was skipped after a gap among the events before it; 0 if there is none."""


@dataclass
class _Plan(Generic[W]):
    """What the aggregate's events are, compared with a position."""

    steps: list[_Step[W]] = field(default_factory=list)
    skipped: int = 0
    """The highest sequence that was skipped after a gap; 0 if there is none."""
    first_skipped: int | None = None
    """The index of the first skipped event."""
    failed: int | None = None
    """The index of the event for which the handler failed."""
    counters: _Counters = field(default_factory=_Counters)


class _AggregateBatch(Generic[T, S, W]):
    """The events of one aggregate in a batch, in order."""

    def __init__(self, consumer: Consumer[T, S, W], delivered: list[_Delivered[T]]) -> None:
        self._consumer = consumer
        self._delivered = delivered
        self._positions = consumer._positions
        self._subject = delivered[0].event.subject
        self._counters = _Counters()
        self._next = 0
        """The index of the first event that isn't known to be completed."""

    def process(self) -> _Outcome:
        """Apply the events. Return the position of the first incomplete record in the batch, or `None`."""
        failed = self._process()
        first_incomplete = None if failed is None else self._delivered[failed].position
        return _Outcome(first_incomplete, self._counters)

    def _process(self) -> int | None:
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                self._consumer._sleep(_BACKOFF_SECONDS * 2 ** (attempt - 1) * self._consumer._jitter())
            try:
                before = self._positions.read(self._subject)
                return self._apply(before)
            except PositionChanged:
                continue
            except Exception as error:
                self._log_failure("reading or saving the position failed", self._next, error)
                return self._next
        logger.error(
            "the position was not saved after %d attempts, because other invocations changed it or transactions "
            "were throttled; the record %s will be delivered again",
            MAX_ATTEMPTS,
            self._delivered[self._next].event_id,
        )
        return self._next

    def _apply(self, before: Position) -> int | None:
        """Apply and save the events after the position. Return the index of the first incomplete event."""
        plan = self._plan(before)
        self._next = self._first_open(plan)
        position, failed = self._save(before, plan)
        if failed is None:
            failed = plan.failed
        skipped = plan.skipped if failed is None else self._skipped_before(failed, position)
        gap = self._gap(position, skipped)
        if gap != position.gap:
            after = Position(position.sequence, position.state, gap)
            self._positions.save(self._subject, position, after, ())
            position = after
        self._count(plan, failed)
        if (
            position.gap is not None
            and plan.first_skipped is not None
            and (failed is None or plan.first_skipped < failed)
        ):
            self._log_gap(plan.first_skipped, position)
        return failed

    def _plan(self, before: Position) -> _Plan[W]:
        """Compare the events with the position, and call the handler for those that come next."""
        plan: _Plan[W] = _Plan()
        sequence, state = before.sequence, before.state
        for index, delivered in enumerate(self._delivered):
            event = delivered.event
            gate = check(sequence, event.sequence)
            if isinstance(gate, Duplicate):
                plan.counters.duplicates += 1
                continue
            if not isinstance(gate, Next) or (isinstance(event, Unknown) and event.is_known_type):
                plan.counters.skipped += 1
                plan.skipped = max(plan.skipped, event.sequence)
                if plan.first_skipped is None:
                    plan.first_skipped = index
                continue
            writes: tuple[W, ...] = ()
            if isinstance(event, Event):
                try:
                    state, writes = self._call_handler(event, state)
                except Exception as error:
                    self._log_failure("the handler failed", index, error)
                    plan.failed = index
                    return plan
            sequence = event.sequence
            plan.steps.append(_Step(index, sequence, state, writes, plan.skipped))
        return plan

    def _call_handler(self, event: Event[T], state: str | None) -> tuple[str | None, tuple[W, ...]]:
        # The handler gets the state as a new object each time, and its result is written as JSON at once: so
        # a handler that changes the object later doesn't change what is saved for this event.
        change = self._consumer._handler(event, None if state is None else json.loads(state))
        _refuse_awaitable(change)
        if not isinstance(change, Change):
            raise InvalidChange("the handler did not return a Change")
        writes = tuple(change.writes)
        limit = self._positions.max_writes
        if limit is not None and len(writes) > limit:
            raise InvalidChange(f"the event has more than {limit} writes")
        if change.state is None:
            return None, writes
        return _state_text(change.state), writes

    def _save(self, before: Position, plan: _Plan[W]) -> tuple[Position, int | None]:
        """Save the steps, as many as possible in one transaction.

        Return the saved position, and the index of the event that couldn't be saved, if there is one.
        """
        position = before
        chunks = _chunks(plan.steps, self._positions.max_writes)
        for number, chunk in enumerate(chunks):
            is_last = number == len(chunks) - 1 and plan.failed is None
            skipped = plan.skipped if is_last else chunk[-1].skipped_before
            try:
                position = self._save_step(position, chunk[-1], skipped, [it for step in chunk for it in step.writes])
                continue
            except PositionChanged:
                raise
            except Exception as error:
                if len(chunk) == 1:
                    self._log_failure("saving the event failed", chunk[0].index, error)
                    return position, chunk[0].index
                # One of the events can't be saved, or two of them write the same item. DynamoDB doesn't allow the
                # latter in one transaction.
                logger.info(
                    "saving %d events in one transaction failed (%s); saving them one at a time",
                    len(chunk),
                    _describe(error),
                )
            for step in chunk:
                skipped = plan.skipped if is_last and step is chunk[-1] else step.skipped_before
                try:
                    position = self._save_step(position, step, skipped, step.writes)
                except PositionChanged:
                    raise
                except Exception as error:
                    self._log_failure("saving the event failed", step.index, error)
                    return position, step.index
        return position, None

    def _save_step(self, before: Position, step: _Step[W], skipped: int, writes: Sequence[W]) -> Position:
        after = Position(step.sequence, step.state, self._gap(Position(step.sequence, gap=before.gap), skipped))
        self._positions.save(self._subject, before, after, writes)
        self._next = step.index + 1
        return after

    def _gap(self, position: Position, skipped: int) -> PositionGap | None:
        """Return the gap to store with the position.

        `skipped` is the highest sequence that the batch skips after a gap. While any gap stays, the time stays, too.
        """
        stored = position.gap
        seen = max(skipped, stored.seen if stored else 0)
        if seen <= position.sequence:
            return None
        missing = position.sequence + 1
        if stored is not None and (stored.missing, stored.seen) == (missing, seen):
            return stored
        since = stored.since if stored else None
        return PositionGap(missing, seen, _timestamp(self._consumer._clock()) if since is None else since)

    def _skipped_before(self, index: int, position: Position) -> int:
        """Return the highest sequence after the position among the events before this one.

        They are completed: Lambda delivers only this one and the later ones again.
        """
        sequences = [it.event.sequence for it in self._delivered[:index]]
        return max((it for it in sequences if it > position.sequence), default=0)

    def _first_open(self, plan: _Plan[W]) -> int:
        """Return the index of the first event that this invocation has to do something for."""
        candidates = [step.index for step in plan.steps[:1]]
        candidates += [it for it in (plan.first_skipped, plan.failed) if it is not None]
        return min(candidates, default=0)

    def _count(self, plan: _Plan[W], failed: int | None) -> None:
        self._counters.add(plan.counters)
        for step in plan.steps:
            if failed is None or step.index < failed:
                if isinstance(self._delivered[step.index].event, Unknown):
                    self._counters.unknown += 1
                else:
                    self._counters.applied += 1

    def _log_gap(self, first_skipped: int, position: Position) -> None:
        first = self._delivered[first_skipped]
        if isinstance(first.event, Unknown) and first.event.sequence == position.sequence + 1:
            reason = f"version {first.event.version} of {first.event.type} is unknown"
        else:
            reason = "earlier events are missing"
        logger.warning("skipping the events of an aggregate from the record %s on: %s", first.event_id, reason)

    def _log_failure(self, message: str, index: int, error: Exception) -> None:
        logger.error(
            "%s (%s); the record %s will be delivered again",
            message,
            _describe(error),
            self._delivered[index].event_id,
        )


def _chunks(steps: Sequence[_Step[W]], limit: int | None) -> list[list[_Step[W]]]:
    """Group the steps, in order, so that the writes of each group don't exceed the limit."""
    chunks: list[list[_Step[W]]] = []
    writes = 0
    for step in steps:
        if not chunks or (limit is not None and writes + len(step.writes) > limit):
            chunks.append([])
            writes = 0
        chunks[-1].append(step)
        writes += len(step.writes)
    return chunks


def _state_text(state: object) -> str:
    """Return the state as JSON. Raise `InvalidChange` if the handler wouldn't get the same value back."""
    try:
        text = json.dumps(state, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        text.encode("utf-8")
        is_same = json.loads(text) == _with_lists(state)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidChange("the state can't be written as JSON") from error
    if not is_same:
        raise InvalidChange("the state is another one after it was written as JSON and read")
    return text


def _with_lists(value: object) -> object:
    """Return the value with lists instead of tuples."""
    if isinstance(value, (list, tuple)):
        return [_with_lists(it) for it in value]
    if isinstance(value, dict):
        return {key: _with_lists(it) for key, it in value.items()}
    return value


def _is_coroutine_function(function: Callable[..., object]) -> bool:
    # An object whose class has an async __call__ isn't a coroutine function itself.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _refuse_awaitable(result: object) -> None:
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            # Otherwise Python warns that it was never awaited.
            result.close()
        raise _AwaitableResult


def _timestamp(moment: datetime) -> str:
    utc = moment.astimezone(timezone.utc)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"


def _describe(error: BaseException) -> str:
    """Describe an error without its message, which may contain ids or payloads: its class, code and source line."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    frames = traceback.extract_tb(error.__traceback__)
    parts = [type(error).__name__]
    if isinstance(code, str):
        parts.append(code)
    if isinstance(error, InvalidChange):
        parts.append(str(error))
    if frames:
        parts.append(f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}")
    return ", ".join(parts)
