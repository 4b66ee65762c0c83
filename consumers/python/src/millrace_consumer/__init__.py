"""Consume the domain events of Millrace in an AWS Lambda function: each event takes effect exactly once.

- `Consumer` processes a batch. Its handler returns a `Change` for each `Event`.
- `DynamoDBPositions` and `MemoryPositions` store positions. `Positions` describes a store of your own.
- `decode`, `check` and `read_batch` are the parts, for a consumer of your own.
- `python -m millrace_consumer.generate` writes the classes of a domain's events.
- `millrace_consumer.testing` tests a handler with a hostile feed.
"""

from .batch import (
    BatchItemFailure,
    BatchResponse,
    InvalidBatch,
    UnusableRecord,
    UserRecord,
    read_batch,
    respond,
)
from .consumer import DEFAULT_CONCURRENCY, Change, Consumer, Handler, InvalidChange, UndecodableRecord
from .decode import MAX_SEQUENCE, decode
from .dynamodb import DynamoDBPositions, InvalidPosition, WriteConditionFailed
from .event import Decoded, Event, EventData, Undecodable, Unknown
from .gate import Duplicate, Gap, Gate, Next, check
from .members import InvalidData
from .positions import MemoryPositions, Position, PositionChanged, PositionGap, Positions

__all__ = [
    "DEFAULT_CONCURRENCY",
    "MAX_SEQUENCE",
    "BatchItemFailure",
    "BatchResponse",
    "Change",
    "Consumer",
    "Decoded",
    "Duplicate",
    "DynamoDBPositions",
    "Event",
    "EventData",
    "Gap",
    "Gate",
    "Handler",
    "InvalidBatch",
    "InvalidChange",
    "InvalidData",
    "InvalidPosition",
    "MemoryPositions",
    "Next",
    "Position",
    "PositionChanged",
    "PositionGap",
    "Positions",
    "Undecodable",
    "UndecodableRecord",
    "Unknown",
    "UnusableRecord",
    "UserRecord",
    "WriteConditionFailed",
    "check",
    "decode",
    "read_batch",
    "respond",
]
