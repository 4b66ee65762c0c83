"""The stream of a hostile feed: histories with duplicates, undecodable records and events of an unknown type."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

UNKNOWN_TYPE = "TypeThatNobodyKnows"
"""The type of the unknown events that the feed adds."""

_START = datetime(2026, 11, 20, 21, 3, 5, 123000, timezone.utc)
_UNKNOWN_CHANCE = 0.15
_DUPLICATES_PER_EVENT = 0.4
_TAIL_CHANCE = 0.5
_UNDECODABLE_CHANCE = 0.08
_GAP_CHANCE = 0.6
_LAST_CHANCE = 0.6
_SHARD = "shardId-000000000000"


@dataclass(frozen=True)
class HistoryEvent:
    """An event of a history. The feed gives it a sequence."""

    type: str
    """The type, such as `BalanceWithdrawn`."""
    data: Mapping[str, Any]
    """The members of `data`, without `sequence`."""
    version: int = 1
    """The version of the type, from 1 on."""


@dataclass(frozen=True)
class ExpectedEvent:
    """An event that has to act exactly once."""

    subject: str
    """The aggregate's id."""
    sequence: int
    """The event's number in the aggregate's history, from 1 on."""
    type: str
    """The type."""
    version: int
    """The version of the type."""
    data: Mapping[str, Any]
    """The members of `data`, with `sequence`."""


@dataclass(frozen=True)
class Record:
    """A Kinesis record."""

    number: int
    """Its number on the stream, from 0 on."""
    partition_key: str
    data: bytes

    @property
    def sequence_number(self) -> str:
        """The number that Kinesis gave it: 56 digits."""
        return f"{49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898 + self.number}"

    @property
    def event_id(self) -> str:
        """Lambda's id of the record."""
        return f"{_SHARD}:{self.sequence_number}"


@dataclass(frozen=True)
class Stream:
    """The records of a stream, and what a handler should make of them."""

    records: Sequence[Record]
    expected: Mapping[str, Sequence[ExpectedEvent]]
    """The events that have to act, by aggregate."""
    positions: Mapping[str, int]
    """The last sequence of each aggregate, also if it is of an unknown type."""
    undecodable: Mapping[str, bytes]
    """The bytes of each undecodable record, by Lambda's id of the record."""
    replay: int
    """The number of the first record of the replay; the number of all records if there is none."""
    gaps: Mapping[str, tuple[int, int]]
    """The gaps before the replay, by aggregate: the first missing sequence, and the highest one that was skipped."""


def cloud_event(
    *, source: str, type_name: str, version: int, subject: str, sequence: int, data: Mapping[str, Any]
) -> bytes:
    """Return a domain event as its record has it. `sequence` is added to `data`."""
    document = {
        "specversion": "1.0",
        "id": f"{subject}:{sequence}",
        "source": source,
        "type": type_name,
        "subject": subject,
        "time": (_START + timedelta(seconds=sequence)).strftime("%Y-%m-%dT%H:%M:%S.") + "123Z",
        "datacontenttype": "application/json",
        "dataschema": f"urn:millrace:schema:{type_name}:{version}",
        "data": {**data, "sequence": sequence},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def lambda_event(datas: Sequence[bytes]) -> dict[str, Any]:
    """Return the event that Lambda gives a function for a batch of records with these bytes."""
    return batch_event([Record(number, "key", data) for number, data in enumerate(datas)])


def batch_event(records: Sequence[Record]) -> dict[str, Any]:
    """Return the event that Lambda gives a function for a batch of these records."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record.partition_key,
                    "sequenceNumber": record.sequence_number,
                    "data": base64.b64encode(record.data).decode("ascii"),
                    "approximateArrivalTimestamp": _START.timestamp() + record.number,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": record.event_id,
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/consumer",
                "awsRegion": "eu-central-1",
                "eventSourceARN": "arn:aws:kinesis:eu-central-1:123456789012:stream/events",
            }
            for record in records
        ]
    }


def make_stream(
    rng: random.Random,
    histories: Mapping[str, Sequence[HistoryEvent]],
    source: str,
    *,
    undecodable: bool,
    unknown_types: bool,
    gaps: bool,
) -> Stream:
    """Make the stream of these histories."""
    expected: dict[str, list[ExpectedEvent]] = {}
    encoded: dict[str, list[bytes]] = {}
    for subject, history in histories.items():
        events = _with_unknown_types(rng, history) if unknown_types else list(history)
        expected[subject] = [
            ExpectedEvent(subject, sequence, it.type, it.version, {**it.data, "sequence": sequence})
            for sequence, it in enumerate(events, 1)
            if it.type != UNKNOWN_TYPE
        ]
        encoded[subject] = [
            cloud_event(
                source=source, type_name=it.type, version=it.version, subject=subject, sequence=sequence, data=it.data
            )
            for sequence, it in enumerate(events, 1)
        ]

    missing = _missing(rng, encoded) if gaps else {}
    parts = {
        subject: [(subject, events[number]) for number in _first_part(rng, len(events), missing.get(subject))]
        for subject, events in encoded.items()
    }
    # The last event after the missing ones is often among the last records, so that no other one can make up for the
    # loss of the gap that it has.
    last: dict[str, list[_Entry]] = {}
    for subject, it in missing.items():
        if it.end < len(encoded[subject]) and rng.random() < _LAST_CHANCE:
            place = parts[subject].index((subject, encoded[subject][-1]))
            parts[subject], last[subject] = parts[subject][:place], parts[subject][place:]
    log = _with_duplicates(rng, _interleaved(rng, parts))
    log += [entry for entries in last.values() for entry in entries]
    replay = _interleaved(rng, {subject: [(subject, data) for data in encoded[subject]] for subject in missing})
    if undecodable:
        log, replay = _with_undecodable(rng, log, source), _with_undecodable(rng, replay, source)
    first_of_replay = len(log)
    log += replay
    records = [Record(number, key, data) for number, (key, data) in enumerate(log)]
    known = {data for events in encoded.values() for data in events}
    return Stream(
        records=records,
        expected=expected,
        positions={subject: len(events) for subject, events in encoded.items() if events},
        undecodable={it.event_id: it.data for it in records if it.data not in known},
        replay=first_of_replay,
        # The events after the missing ones were skipped.
        gaps={
            subject: (it.missing + 1, len(encoded[subject]))
            for subject, it in missing.items()
            if it.end < len(encoded[subject])
        },
    )


def _with_unknown_types(rng: random.Random, history: Sequence[HistoryEvent]) -> list[HistoryEvent]:
    events: list[HistoryEvent] = []
    for event in history:
        if rng.random() < _UNKNOWN_CHANCE:
            events.append(HistoryEvent(UNKNOWN_TYPE, {"anything": [1]}))
        events.append(event)
    if rng.random() < _UNKNOWN_CHANCE:
        events.append(HistoryEvent(UNKNOWN_TYPE, {}))
    return events


@dataclass(frozen=True)
class _Missing:
    """The events of an aggregate that are missing at first, by their index: some in a row."""

    late: int
    """The first one."""
    missing: int
    """The first one that is missing until the replay. Those before it arrive after the events that follow them, as
    after a replay that was stopped."""
    end: int
    """One more than the last one."""


def _missing(rng: random.Random, encoded: Mapping[str, Sequence[bytes]]) -> dict[str, _Missing]:
    """Choose the events that are missing at first, for some of the aggregates."""
    missing: dict[str, _Missing] = {}
    for subject, events in encoded.items():
        if events and rng.random() < _GAP_CHANCE:
            first = rng.randrange(len(events))
            end = min(len(events), first + rng.randint(1, 3))
            late = rng.randint(min(1, end - first - 1), end - first - 1)
            missing[subject] = _Missing(first, first + late, end)
    return missing


def _first_part(rng: random.Random, count: int, missing: _Missing | None) -> list[int]:
    """Return the indexes of an aggregate's events before the replay, in the order of the stream."""
    if missing is None:
        return list(range(count))
    order = [*range(missing.late), *range(missing.end, count)]
    place = missing.late
    for index in range(missing.late, missing.missing):
        # Often at the end: an event that is skipped later would have the same effect as the ones skipped before.
        place = len(order) if rng.random() < 0.7 else rng.randint(place, len(order))
        order.insert(place, index)
        place += 1
    return order


_Entry = tuple[str, bytes]


def _interleaved(rng: random.Random, parts: Mapping[str, Sequence[_Entry]]) -> list[_Entry]:
    """Interleave the parts in any order; each one keeps its own order."""
    turns = [subject for subject, entries in parts.items() for _ in entries]
    rng.shuffle(turns)
    remaining = {subject: iter(entries) for subject, entries in parts.items()}
    return [next(remaining[subject]) for subject in turns]


def _with_duplicates(rng: random.Random, log: Sequence[_Entry]) -> list[_Entry]:
    """Add duplicates after the first occurrences: single events, and the events of an aggregate from some event on."""
    result = list(log)
    budget = round(len(log) * _DUPLICATES_PER_EVENT * rng.random() * 2)
    while budget > 0:
        moment = rng.randrange(len(result)) + 1
        subject = rng.choice(result[:moment])[0]
        # The first occurrences until the moment, in order.
        published = list(dict.fromkeys(entry for entry in result[:moment] if entry[0] == subject))
        first = rng.randrange(len(published))
        copies = published[first:] if rng.random() < _TAIL_CHANCE else [published[first]]
        budget -= len(copies)
        # Other records are between the copies, which keep their order.
        places = sorted(rng.randint(moment, len(result)) for _ in copies)
        for offset, (place, copy) in enumerate(zip(places, copies, strict=True)):
            result.insert(place + offset, copy)
    return result


def _with_undecodable(rng: random.Random, log: Sequence[_Entry], source: str) -> list[_Entry]:
    result: list[_Entry] = []
    for entry in log:
        if rng.random() < _UNDECODABLE_CHANCE:
            result.append((entry[0], _undecodable(rng, entry, source)))
        result.append(entry)
    if rng.random() < _UNDECODABLE_CHANCE:
        result.append(("key", b""))
    return result


def _undecodable(rng: random.Random, entry: _Entry, source: str) -> bytes:
    subject, data = entry
    of_another_domain = cloud_event(
        source=f"{source}:other", type_name="Other", version=1, subject=subject, sequence=1, data={}
    )
    return rng.choice(
        [
            b"",
            b"no event",
            b"[]",
            b"\xff\xfe\x00",
            rng.getrandbits(64).to_bytes(8, "big"),
            data[: rng.randrange(1, len(data))],
            data.replace(b'"specversion":"1.0"', b'"specversion":"0.3"'),
            of_another_domain,
        ]
    )
