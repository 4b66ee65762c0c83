"""Tests of a handler, without AWS.

- `HostileFeed` delivers histories to a handler as Kinesis and Lambda may deliver them at worst.
- `FakeDynamoDB` is a client of tables in memory.
"""

from .dynamodb import FakeClientError, FakeDynamoDB
from .feed import FeedFailure, FeedReport, HostileFeed
from .invocations import CallFailed, Killed
from .stream import ExpectedEvent, HistoryEvent, cloud_event, lambda_event

__all__ = [
    "CallFailed",
    "ExpectedEvent",
    "FakeClientError",
    "FakeDynamoDB",
    "FeedFailure",
    "FeedReport",
    "HistoryEvent",
    "HostileFeed",
    "Killed",
    "cloud_event",
    "lambda_event",
]
