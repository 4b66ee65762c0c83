"""Lambda's event with a batch of Kinesis records, and the partial batch response."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict


class InvalidBatch(ValueError):
    """Lambda's event isn't a batch of Kinesis records. Nothing was processed; Lambda delivers the batch again."""


@dataclass(frozen=True)
class UserRecord:
    """What a publisher put on the stream. Several user records may have the same position."""

    position: int
    """The number of the Kinesis record in the batch, from 0 on."""
    event_id: str
    """Lambda's id of the Kinesis record: shard and sequence number; without one, the sequence number. It may be
    logged."""
    data: bytes
    """The record's bytes."""


@dataclass(frozen=True)
class UnusableRecord:
    """A Kinesis record without data in base64."""

    position: int
    """The number of the Kinesis record in the batch, from 0 on."""
    event_id: str
    """Lambda's id of the Kinesis record: shard and sequence number; without one, the sequence number. It may be
    logged."""


class BatchItemFailure(TypedDict):
    """An incomplete record."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """Lambda's partial batch response. The event source mapping needs `ReportBatchItemFailures` for it."""

    batchItemFailures: list[BatchItemFailure]


def read_batch(lambda_event: Mapping[str, Any]) -> list[UserRecord | UnusableRecord]:
    """Read the user records of a batch, in order.

    Raise `InvalidBatch` if the event is no batch, or if a record has no sequence number: such a record couldn't be
    reported in the response.
    """
    user_records: list[UserRecord | UnusableRecord] = []
    for position, record in enumerate(_records(lambda_event)):
        _sequence_number(record, position)
        user_records.extend(_user_records(record, position))
    return user_records


def respond(lambda_event: Mapping[str, Any], first_incomplete: int | None) -> BatchResponse:
    """Return the response that reports the record at this position, or none.

    Lambda delivers it and all later ones again.
    """
    if first_incomplete is None:
        return {"batchItemFailures": []}
    record = _records(lambda_event)[first_incomplete]
    return {"batchItemFailures": [{"itemIdentifier": _sequence_number(record, first_incomplete)}]}


def _user_records(record: Mapping[str, Any], position: int) -> list[UserRecord | UnusableRecord]:
    """Return the user records of one Kinesis record.

    The only place where Kinesis records become user records: a record that the Kinesis Producer Library aggregated
    contains several.
    """
    identifier = record.get("eventID")
    # Lambda always sends an eventID. Other senders may not: without one, two records would have the same id.
    event_id = identifier if isinstance(identifier, str) and identifier else record["kinesis"]["sequenceNumber"]
    data = record["kinesis"].get("data")
    if not isinstance(data, str):
        return [UnusableRecord(position, event_id)]
    try:
        return [UserRecord(position, event_id, base64.b64decode(data, validate=True))]
    except (binascii.Error, ValueError):
        return [UnusableRecord(position, event_id)]


def _records(lambda_event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    records = lambda_event.get("Records") if isinstance(lambda_event, Mapping) else None
    if not isinstance(records, list):
        raise InvalidBatch("the event of Lambda has no list Records")
    return records


def _sequence_number(record: object, position: int) -> str:
    kinesis = record.get("kinesis") if isinstance(record, Mapping) else None
    number = kinesis.get("sequenceNumber") if isinstance(kinesis, Mapping) else None
    if not isinstance(number, str) or not number:
        raise InvalidBatch(f"record {position} has no kinesis.sequenceNumber")
    return number
