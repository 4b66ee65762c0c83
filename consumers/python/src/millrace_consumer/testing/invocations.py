"""Invocations of a handler that run at the same time, and the faults of their calls.

Each call of a wrapped object is a point at which the feed may switch to another invocation, kill the invocation or make
the call fail. Only one call takes place at a time, and the feed's random numbers choose it. So the same seed has the
same order of calls, if a handler waits for nothing else than its calls.
"""

from __future__ import annotations

import contextvars
import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# A handler that waits for something else, such as a lock that another invocation has, isn't waited for any longer.
_PATIENCE_SECONDS = 0.25
_STALLED_WEIGHT = 0.05


class Killed(BaseException):
    """The invocation was killed. It isn't an `Exception`, so that no handler treats it as a failure of a call."""


class CallFailed(Exception):
    """A call failed while its invocation goes on, as after a timeout: it may have taken effect."""

    def __init__(self) -> None:
        super().__init__("the feed made this call fail")
        self.response = {"Error": {"Code": "InternalServerError", "Message": "the feed made this call fail"}}
        """As in the errors of botocore."""


@dataclass(frozen=True)
class Fault:
    """What happens at a call of an invocation."""

    call: int
    """The number of the call, from 1 on."""
    is_kill: bool
    """Whether the invocation is killed; otherwise the call fails."""
    is_after: bool
    """Whether the call has taken effect."""


@dataclass
class Invocation:
    """An invocation of the handler."""

    lambda_event: dict[str, Any]
    faults: Sequence[Fault]
    weight: int
    """How likely the invocation is to be continued, compared with others at the same time."""
    stalls_after: int | None = None
    """After how many calls the invocation is hardly ever continued while others are running; `None` for never."""
    calls: int = 0
    is_killed: bool = False
    is_finished: bool = False
    response: Any = None
    error: BaseException | None = None
    waiting: list[_Turn] = field(default_factory=list)

    @property
    def current_weight(self) -> float:
        """How likely it is to be continued at this moment."""
        is_stalled = self.stalls_after is not None and self.calls >= self.stalls_after
        return _STALLED_WEIGHT if is_stalled else self.weight

    def next_fault(self) -> Fault | None:
        """Count a call, and return its fault."""
        self.calls += 1
        return next((fault for fault in self.faults if fault.call == self.calls), None)


@dataclass(eq=False)
class _Turn:
    """A call that waits."""

    is_next: bool = False


_current: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar("millrace_invocation", default=None)


class IdleInvocation(Exception):
    """An invocation neither returned nor made a wrapped call for too long."""


class Invocations:
    """The invocations that run at this moment."""

    def __init__(self, rng: random.Random, idle_seconds: float) -> None:
        self._rng = rng
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._running: list[Invocation] = []
        self.has_calls = False
        """Whether an invocation has called a wrapped object."""
        self.fault_counts = {"kills_before": 0, "kills_after": 0, "failed_calls": 0}

    def start(self, handler: Callable[[dict[str, Any]], Any], invocations: Sequence[Invocation]) -> None:
        """Start invocations, each one in a thread of its own."""
        self._running += invocations
        for invocation in invocations:
            threading.Thread(target=self._invoke, args=(handler, invocation), daemon=True).start()

    def run_until_finished(self, awaited: Invocation) -> None:
        """Continue all running invocations in turn until this one has finished."""
        while True:
            with self._changed:
                self._wait_for_turns()
                self._running = [it for it in self._running if not it.is_finished]
                if awaited.is_finished:
                    return
                turns = [(it, turn) for it in self._running for turn in it.waiting]
                weights = [it.current_weight for it, _ in turns]
                chosen, turn = self._rng.choices(turns, weights)[0]
                chosen.waiting.remove(turn)
                turn.is_next = True
                self._changed.notify_all()

    def finish_all(self) -> None:
        """Continue until no invocation is running."""
        while self._running:
            self.run_until_finished(self._running[0])

    def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a function of a wrapped object. Outside of an invocation, it is only called."""
        invocation = _current.get()
        if invocation is None:
            return function(*args, **kwargs)
        with self._changed:
            self.has_calls = True
            if len(self._running) > 1:
                turn = _Turn()
                invocation.waiting.append(turn)
                self._changed.notify_all()
                self._changed.wait_for(lambda: turn.is_next)
            if invocation.is_killed:
                raise Killed
            fault = invocation.next_fault()
            if fault is not None and not fault.is_after:
                self._fail(invocation, fault)
        try:
            return function(*args, **kwargs)
        finally:
            if fault is not None and fault.is_after:
                with self._changed:
                    self._fail(invocation, fault)

    def _fail(self, invocation: Invocation, fault: Fault) -> None:
        if not fault.is_kill:
            self.fault_counts["failed_calls"] += 1
            raise CallFailed
        self.fault_counts["kills_after" if fault.is_after else "kills_before"] += 1
        invocation.is_killed = True
        raise Killed

    def _invoke(self, handler: Callable[[dict[str, Any]], Any], invocation: Invocation) -> None:
        _current.set(invocation)
        try:
            invocation.response = handler(invocation.lambda_event)
        except BaseException as error:
            invocation.error = error
        with self._changed:
            invocation.is_finished = True
            self._changed.notify_all()

    def _wait_for_turns(self) -> None:
        """Wait until each running invocation has finished or waits for its turn."""

        def is_quiet(it: Invocation) -> bool:
            return it.is_finished or bool(it.waiting)

        deadline = time.monotonic() + self._idle_seconds
        while not self._changed.wait_for(lambda: all(map(is_quiet, self._running)), _PATIENCE_SECONDS):
            if any(it.waiting for it in self._running if not it.is_finished):
                return
            if time.monotonic() > deadline:
                raise IdleInvocation


class Proxy:
    """An object whose calls are points at which an invocation may be killed."""

    def __init__(self, wrapped: object, invocations: Invocations) -> None:
        self._millrace_wrapped = wrapped
        self._millrace_invocations = invocations

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._millrace_wrapped, name)
        if not callable(value) or isinstance(value, type):
            return value
        return functools.partial(_call, self._millrace_invocations, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped function."""
        function: Any = self._millrace_wrapped
        return self._millrace_invocations.call(function, args, kwargs)


def _call(invocations: Invocations, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return invocations.call(function, args, kwargs)
