"""The cases that the libraries of all languages pass."""

import base64
import dataclasses
import json
import logging
import unittest

from support import CASES, SOURCE, TYPES, batch, case_bytes

from millrace_consumer import (
    Change,
    Consumer,
    Duplicate,
    DynamoDBPositions,
    Event,
    Gap,
    MemoryPositions,
    Next,
    Position,
    PositionGap,
    Undecodable,
    Unknown,
    check,
    decode,
)
from millrace_consumer.testing import FakeDynamoDB


def setUpModule():
    logging.getLogger("millrace_consumer").setLevel(logging.CRITICAL)


def tearDownModule():
    logging.getLogger("millrace_consumer").setLevel(logging.NOTSET)


class GateCases(unittest.TestCase):
    def test_gate(self):
        self.assertGreater(len(CASES["gate"]), 5)
        for case in CASES["gate"]:
            with self.subTest(case):
                expected = {"next": Next(), "duplicate": Duplicate(), "gap": Gap(case.get("missing"))}
                self.assertEqual(check(case["applied"], case["event"]), expected[case["result"]])


class DecodeCases(unittest.TestCase):
    def test_decode(self):
        self.assertGreater(len(CASES["decode"]), 50)
        self.assertEqual([f"{name}:{version}" for name, version in TYPES], CASES["knownTypes"])
        for case in CASES["decode"]:
            data = base64.b64decode(case["dataBase64"]) if "dataBase64" in case else case["data"].encode("utf-8")
            with self.subTest(case["name"]):
                decoded = decode(data, source=SOURCE, types=TYPES)
                if "event" in case:
                    self.assertIsInstance(decoded, Event)
                    self.assertIsInstance(decoded.data, TYPES[decoded.type, decoded.version])
                    self.assertEqual(self.event(decoded), case["event"])
                elif "unknown" in case:
                    self.assertIsInstance(decoded, Unknown)
                    self.assertEqual(self.unknown(decoded), case["unknown"])
                else:
                    self.assertTrue(case["undecodable"])
                    self.assertIsInstance(decoded, Undecodable)
                    self.assertTrue(decoded.reason)
                    self.assertEqual(decoded.data, data)

    @staticmethod
    def event(decoded):
        return {
            "id": decoded.id,
            "type": decoded.type,
            "version": decoded.version,
            "subject": decoded.subject,
            "sequence": decoded.sequence,
            "time": decoded.time,
            "correlationId": decoded.correlation_id,
            "causationId": decoded.causation_id,
            "traceParent": decoded.trace_parent,
            "data": dataclasses.asdict(decoded.data),
        }

    @staticmethod
    def unknown(decoded):
        return {
            "id": decoded.id,
            "type": decoded.type,
            "version": decoded.version,
            "subject": decoded.subject,
            "sequence": decoded.sequence,
            "isKnownType": decoded.is_known_type,
        }


class Memory:
    """The positions of a case in memory. Each write is the id of an applied event."""

    def __init__(self, failing_saves):
        class Store(MemoryPositions):
            def save(self, subject, before, after, writes):
                if failing_saves.intersection(writes):
                    raise RuntimeError("the case makes the store refuse the write")
                super().save(subject, before, after, writes)

        self.store = Store()

    def write(self, event_id):
        return event_id

    def applied(self):
        return self.store.writes


class DynamoDB:
    """The positions of a case in a table. Each write puts the id of an applied event."""

    def __init__(self, failing_saves):
        self.failing_saves = failing_saves
        self.client = FakeDynamoDB({"positions": ["Subject"], "applied": ["Id"]})
        self.store = DynamoDBPositions(self.client, "positions")

    def write(self, event_id):
        # A condition that isn't true makes the store refuse the write.
        condition = "attribute_exists(Id)" if event_id in self.failing_saves else "attribute_not_exists(Id)"
        item = {"Id": {"S": event_id}}
        return {"Put": {"TableName": "applied", "Item": item, "ConditionExpression": condition}}

    def applied(self):
        return [item["Id"]["S"] for item in self.client.items("applied")]


class BatchCases(unittest.TestCase):
    def test_batches_with_positions_in_memory(self):
        for concurrency in (1, 4):
            self.run_cases(Memory, concurrency)

    def test_batches_with_positions_in_dynamodb(self):
        self.run_cases(DynamoDB, 1)

    def run_cases(self, make_positions, concurrency):
        self.assertGreater(len(CASES["batches"]), 25)
        for case in CASES["batches"]:
            with self.subTest(case["name"], concurrency=concurrency):
                self.run_case(case, make_positions(set(case["failingSaves"])), concurrency)

    def run_case(self, case, positions, concurrency):
        for subject in case["before"].keys() | case["gapsBefore"].keys():
            gap = case["gapsBefore"].get(subject)
            stored = PositionGap(gap["missing"], gap["seen"], "2026-01-01T00:00:00.000Z") if gap else None
            positions.store.save(subject, Position(), Position(case["before"].get(subject, 0), None, stored), [])
        undecodable = []

        def handler(event, state):
            if event.id in case["failing"]:
                raise RuntimeError("the case makes the handler fail")
            return Change(None, [positions.write(event.id)])

        def on_undecodable(record):
            if record.position in case["failingUndecodable"]:
                raise RuntimeError("the case makes the function fail")
            self.assertEqual(record.event_id, f"shard:{100 + record.position}")
            undecodable.append(record.position)

        consumer = Consumer(
            source=SOURCE,
            types=TYPES,
            handler=handler,
            positions=positions.store,
            on_undecodable=on_undecodable,
            concurrency=concurrency,
            sleep=lambda seconds: None,
        )
        response = consumer.process(batch(*map(case_bytes, case["records"])))

        failure = [] if case["failure"] is None else [{"itemIdentifier": str(100 + case["failure"])}]
        self.assertEqual(json.loads(json.dumps(response)), {"batchItemFailures": failure})
        self.assertEqual(sorted(positions.applied()), case["applied"])
        self.assertEqual(undecodable, case["undecodable"])
        subjects = {"a", "b", "c"}
        after = {subject: positions.store.read(subject) for subject in subjects}
        self.assertEqual({key: it.sequence for key, it in after.items() if it.sequence}, case["after"])
        gaps = {key: {"missing": it.gap.missing, "seen": it.gap.seen} for key, it in after.items() if it.gap}
        self.assertEqual(gaps, case["gaps"])
        # A completed batch that is delivered again changes nothing.
        if case["failure"] is None:
            self.assertEqual(consumer.process(batch(*map(case_bytes, case["records"]))), response)
            self.assertEqual(sorted(positions.applied()), case["applied"])
            self.assertEqual({subject: positions.store.read(subject) for subject in subjects}, after)


class Gaps(unittest.TestCase):
    def test_a_gap_keeps_the_time_when_it_was_found_first(self):
        positions = MemoryPositions()
        positions.save("a", Position(), Position(1, None, PositionGap(2, 3, "2026-01-01T00:00:00.000Z")), [])
        consumer = Consumer(
            source=SOURCE,
            types=TYPES,
            handler=lambda event, state: Change(None, [event.sequence]),
            positions=positions,
            on_undecodable=print,
        )
        consumer.process(batch(case_bytes({"event": "a:6"}), case_bytes({"event": "a:2"})))
        self.assertEqual(positions.read("a"), Position(2, None, PositionGap(3, 6, "2026-01-01T00:00:00.000Z")))
        # A duplicate doesn't remove it.
        consumer.process(batch(case_bytes({"event": "a:1"})))
        self.assertEqual(positions.read("a").gap, PositionGap(3, 6, "2026-01-01T00:00:00.000Z"))
        consumer.process(batch(*(case_bytes({"event": f"a:{sequence}"}) for sequence in range(1, 7))))
        self.assertEqual(positions.read("a"), Position(6))
        self.assertEqual(positions.writes, [2, 3, 4, 5, 6])


if __name__ == "__main__":
    unittest.main()
