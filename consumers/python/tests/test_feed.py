"""The hostile feed: the consumer passes with every seed, and broken handlers fail."""

import base64
import dataclasses
import json
import logging
import os
import threading
import unittest

from support import SOURCE, TYPES

from millrace_consumer import Change, Consumer, DynamoDBPositions, MemoryPositions, check, decode
from millrace_consumer.gate import Duplicate, Next
from millrace_consumer.testing import (
    ExpectedEvent,
    FakeDynamoDB,
    FeedFailure,
    HistoryEvent,
    HostileFeed,
    Killed,
)

SEEDS = int(os.environ.get("FEED_SEEDS", "200"))
# Each broken handler is wrong only in some orders, so that not every seed finds it.
SEEDS_FOR_BROKEN_HANDLERS = 40


def setUpModule():
    logging.getLogger("millrace_consumer").setLevel(logging.CRITICAL + 1)


def tearDownModule():
    logging.getLogger("millrace_consumer").setLevel(logging.NOTSET)


def history(subject, length):
    first = HistoryEvent("AccountCreated", {"accountId": subject, "currency": "EUR"})
    later = [
        HistoryEvent("BalanceCredited", {"accountId": subject, "amount": amount, "currency": "EUR"})
        for amount in range(1, length)
    ]
    return [first, *later]


def make_feed(seed, **options):
    histories = {subject: history(subject, 3 + (seed + number) % 6) for number, subject in enumerate("abcd")}
    return HostileFeed(seed, histories, source=SOURCE, **options)


def grouped(effects):
    acted = {}
    for subject, sequence in effects:
        acted.setdefault(subject, []).append(sequence)
    return acted


def balances(feed):
    """The state that each aggregate has at the end."""
    return {
        subject: sum(event.data.get("amount", 0) for event in events)
        for subject, events in feed.expected.items()
        if events
    }


def gaps_in_memory(positions):
    return lambda: {key: (it.gap.missing, it.gap.seen) for key, it in positions.positions.items() if it.gap}


def gaps_in_dynamodb(client):
    return lambda: {
        it["Subject"]["S"]: (int(it["Missing"]["N"]), int(it["SeenThrough"]["N"]))
        for it in client.items("positions")
        if "Missing" in it
    }


def run_with_memory(feed, concurrency=1):
    positions = MemoryPositions()
    undecodable = {}

    def handler(event, state):
        balance = (state or 0) + getattr(event.data, "amount", 0)
        return Change(balance, [(event.subject, event.sequence)])

    consumer = Consumer(
        source=SOURCE,
        types=TYPES,
        handler=handler,
        positions=feed.wrap(positions),
        on_undecodable=feed.wrap(lambda record: undecodable.update({record.event_id: record.data})),
        concurrency=concurrency,
        sleep=lambda seconds: None,
        jitter=lambda: 0.5,
    )
    feed.run(consumer.process, gaps_in_memory(positions))
    return positions, undecodable


def run_with_dynamodb(feed):
    client = FakeDynamoDB({"positions": ["Subject"], "effects": ["Subject", "Number"], "undecodable": ["Id"]})
    wrapped = feed.wrap(client)

    def handler(event, state):
        state = state or {"balance": 0, "events": 0}
        state["balance"] += getattr(event.data, "amount", 0)
        state["events"] += 1
        item = {
            "Subject": {"S": event.subject},
            "Number": {"N": str(state["events"])},
            "Sequence": {"N": str(event.sequence)},
        }
        put = {"TableName": "effects", "Item": item, "ConditionExpression": "attribute_not_exists(Subject)"}
        return Change(state, [{"Put": put}])

    def on_undecodable(record):
        wrapped.put_item(TableName="undecodable", Item={"Id": {"S": record.event_id}, "Data": {"B": record.data}})

    consumer = Consumer(
        source=SOURCE,
        types=TYPES,
        handler=handler,
        positions=DynamoDBPositions(wrapped, "positions"),
        on_undecodable=on_undecodable,
        concurrency=1,
        sleep=lambda seconds: None,
        jitter=lambda: 0.5,
    )
    feed.run(consumer.process, gaps_in_dynamodb(client))
    return client


class ExactlyOnce(unittest.TestCase):
    def test_each_event_acts_exactly_once_with_positions_in_memory(self):
        for seed in range(SEEDS):
            feed = make_feed(seed, gaps=seed % 2 == 0)
            positions, undecodable = run_with_memory(feed)
            feed.verify(grouped(positions.writes))
            self.assertEqual(undecodable, feed.undecodable)
            self.assertEqual({key: it.sequence for key, it in positions.positions.items()}, feed.positions)
            states = {key: int(it.state) for key, it in positions.positions.items() if it.state is not None}
            self.assertEqual(states, balances(feed))
            self.assertEqual([it for it in positions.positions.values() if it.gap is not None], [])

    def test_each_event_acts_exactly_once_with_positions_in_dynamodb(self):
        for seed in range(SEEDS):
            feed = make_feed(seed, gaps=seed % 2 == 1)
            client = run_with_dynamodb(feed)
            effects = sorted(
                (it["Subject"]["S"], int(it["Number"]["N"]), int(it["Sequence"]["N"])) for it in client.items("effects")
            )
            feed.verify(grouped((subject, sequence) for subject, _, sequence in effects))
            stored = {it["Id"]["S"]: it["Data"]["B"] for it in client.items("undecodable")}
            self.assertEqual(stored, feed.undecodable)
            items = client.items("positions")
            self.assertEqual({it["Subject"]["S"]: int(it["Sequence"]["N"]) for it in items}, feed.positions)
            states = {it["Subject"]["S"]: json.loads(it["State"]["S"])["balance"] for it in items if "State" in it}
            self.assertEqual(states, balances(feed))
            self.assertEqual([it for it in items if "Missing" in it], [])

    # In the next two tests, the feed compares the recorded gaps. Their options make the fault frequent that is meant.

    def test_a_gap_is_recorded_although_later_events_cannot_be_saved(self):
        options = {"gaps": True, "undecodable": False, "kills": False, "concurrency": False, "batch_size": 5}
        for seed in range(SEEDS):
            run_with_memory(HostileFeed(seed, {it: history(it, 5) for it in "abcd"}, source=SOURCE, **options))

    def test_no_invocation_overwrites_the_gap_of_another_one(self):
        options = {"gaps": True, "undecodable": False, "kills": False, "failing_calls": False, "batch_size": 3}
        for seed in range(SEEDS):
            run_with_dynamodb(HostileFeed(seed, {it: history(it, 5) for it in "abcd"}, source=SOURCE, **options))

    def test_each_event_acts_exactly_once_with_several_aggregates_at_the_same_time(self):
        for seed in range(20):
            feed = make_feed(seed, gaps=seed % 2 == 1)
            positions, undecodable = run_with_memory(feed, concurrency=3)
            feed.verify(grouped(positions.writes))
            self.assertEqual(undecodable, feed.undecodable)


class Faults(unittest.TestCase):
    def test_every_fault_happens(self):
        total = {}
        for seed in range(20):
            feed = make_feed(seed)
            run_with_memory(feed)
            for name, count in dataclasses.asdict(feed.report).items():
                total[name] = total.get(name, 0) + count
        self.assertEqual([name for name, count in total.items() if count < 10], [])

    def test_the_same_seed_has_the_same_faults(self):
        def run(seed):
            feed = make_feed(seed)
            client = run_with_dynamodb(feed)
            return feed.report, client.requests, feed.expected

        for seed in range(20):
            self.assertEqual(run(seed), run(seed))
        self.assertNotEqual(run(1), run(2))

    def test_faults_can_be_switched_off(self):
        feed = make_feed(
            3, undecodable=False, unknown_types=False, kills=False, failing_calls=False, concurrency=False, batch_size=1
        )
        run_with_memory(feed)
        self.assertEqual(feed.undecodable, {})
        self.assertEqual({key: len(it) for key, it in feed.expected.items()}, feed.positions)
        report = feed.report
        self.assertEqual(
            (report.kills_before, report.kills_after, report.failed_calls, report.concurrent_invocations), (0, 0, 0, 0)
        )

    def test_first_occurrences_keep_the_order_of_their_aggregate(self):
        for seed in range(50):
            feed = make_feed(seed)
            first = {}
            for record in feed._records:
                if record.event_id not in feed.undecodable:
                    event = json.loads(record.data)
                    sequences = first.setdefault(event["subject"], [])
                    if event["data"]["sequence"] not in sequences:
                        sequences.append(event["data"]["sequence"])
            for subject, sequences in first.items():
                self.assertEqual(sequences, list(range(1, feed.positions[subject] + 1)))

    def test_with_gaps_events_are_missing_before_they_are_sent_again(self):
        skipped = 0
        for seed in range(20):
            feed = make_feed(seed, gaps=True)
            applied = {}
            for record in feed._records:
                if record.event_id not in feed.undecodable:
                    event = json.loads(record.data)
                    gate = check(applied.get(event["subject"], 0), event["data"]["sequence"])
                    if isinstance(gate, Next):
                        applied[event["subject"]] = event["data"]["sequence"]
                    elif not isinstance(gate, Duplicate):
                        skipped += 1
            self.assertEqual(applied, feed.positions)
        self.assertGreater(skipped, 20)

    def test_gaps_have_missing_events_and_some_of_them_arrive_late(self):
        with_gap = without_gap = late = 0
        for seed in range(40):
            feed = make_feed(seed, gaps=True, undecodable=False)
            arrived = {}
            for record in feed._records[: feed._replay]:
                event = json.loads(record.data)
                arrived.setdefault(event["subject"], {})[event["data"]["sequence"]] = None
            for subject, last in feed.positions.items():
                order = list(arrived.get(subject, ()))
                missing = next(it for it in range(1, last + 2) if it not in order)
                highest = max(order, default=0)
                self.assertEqual(feed._gaps.get(subject), (missing, highest) if highest > missing else None)
                with_gap += highest > missing
                without_gap += highest < missing <= last
                late += order != sorted(order)
        self.assertGreater(with_gap, 30)
        self.assertGreater(without_gap, 10)
        self.assertGreater(late, 5)

    def test_a_recorded_gap_is_compared_before_the_replay(self):
        def correctly(feed):
            return dict(feed._gaps)

        def changed(missing, seen):
            return lambda feed: {key: (a + missing, b + seen) for key, (a, b) in feed._gaps.items()}

        for name, gaps, message in (
            ("correct", correctly, None),
            ("a list", lambda feed: {key: list(it) for key, it in feed._gaps.items()}, None),
            ("absent", lambda feed: {}, "seed 1: the aggregate [a-d]: the recorded gap is none, expected from [0-9]"),
            ("another first one", changed(1, 0), "the aggregate [a-d]: the recorded gap is from"),
            ("another last one", changed(0, -1), "the aggregate [a-d]: the recorded gap is from"),
            ("unexpected", lambda feed: {**feed._gaps, "x": (1, 2)}, "the aggregate x: .* expected none"),
        ):
            with self.subTest(name):
                feed = make_feed(1, gaps=True)
                self.assertTrue(feed._gaps)
                table = Table()
                handler = own_handler(feed.wrap(table), apply_correctly)
                if message is None:
                    feed.run(handler, lambda feed=feed, gaps=gaps: gaps(feed))
                    feed.verify(grouped(table.effects))
                else:
                    with self.assertRaisesRegex(FeedFailure, message):
                        feed.run(handler, lambda feed=feed, gaps=gaps: gaps(feed))

    def test_without_a_wrapped_call_the_faults_cannot_happen(self):
        off = {"kills": False, "failing_calls": False, "concurrency": False}
        for option in off:
            table = Table()
            feed = make_feed(1, **{**off, option: True})
            with self.assertRaisesRegex(FeedFailure, "seed 1: no call went through feed.wrap: "):
                feed.run(own_handler(table, apply_correctly))
        feed = make_feed(1, **off)
        feed.run(own_handler(table := Table(), apply_correctly))
        feed.verify(grouped(table.effects))
        # Without records, there is nothing to call for.
        HostileFeed(1, {}, source=SOURCE, undecodable=False).run(own_handler(Table(), apply_correctly))

    def test_expected_events_have_their_sequences(self):
        feed = HostileFeed(1, {"a": history("a", 2)}, source=SOURCE, unknown_types=False)
        data = {"accountId": "a", "amount": 1, "currency": "EUR", "sequence": 2}
        self.assertEqual(feed.expected["a"][1], ExpectedEvent("a", 2, "BalanceCredited", 1, data))

    def test_a_killed_invocation_makes_no_further_call(self):
        calls_after = []
        kills = []
        for seed in range(10):
            feed = make_feed(seed, concurrency=False)
            service = feed.wrap(Service())

            def handler(lambda_event, service=service):
                try:
                    for _ in lambda_event["Records"]:
                        service.call()
                except Killed:
                    kills.append(1)
                    try:
                        service.call()
                        calls_after.append(1)
                    except Killed:
                        pass
                    return "a response that is ignored"
                return {"batchItemFailures": []}

            feed.run(handler)
        self.assertGreater(len(kills), 5)
        self.assertEqual(calls_after, [])

    def test_calls_outside_of_an_invocation_have_no_faults(self):
        service = make_feed(1).wrap(Service())
        self.assertEqual([service.call() for _ in range(100)], ["called"] * 100)
        self.assertEqual(service.attribute, 5)
        self.assertIs(service.Failure, Service.Failure)
        self.assertEqual(make_feed(1).wrap(len)("abc"), 3)

    def test_two_invocations_that_wait_for_a_lock_go_on(self):
        feed = HostileFeed(5, {"a": history("a", 12)}, source=SOURCE, batch_size=3)
        service, lock, running = feed.wrap(Service()), threading.Lock(), []

        def handler(lambda_event):
            with lock:
                running.append(1)
                service.call()
                service.call()
            return {"batchItemFailures": []}

        feed.run(handler)
        self.assertGreater(feed.report.concurrent_invocations, 0)


class Service:
    attribute = 5

    class Failure(Exception):
        pass

    def call(self):
        return "called"


class Table:
    """Positions and effects of a handler that doesn't use the library."""

    def __init__(self):
        self.applied = {}
        self.effects = []

    def position(self, subject):
        return self.applied.get(subject, 0)

    def save(self, subject, before, after, effect):
        """Save both in one step, on a condition."""
        if self.applied.get(subject, 0) != before:
            raise ValueError("another invocation has changed the position")
        self.applied[subject] = after
        if effect is not None:
            self.effects.append(effect)

    def save_without_condition(self, subject, after, effect):
        self.applied[subject] = after
        if effect is not None:
            self.effects.append(effect)

    def set_position(self, subject, after):
        self.applied[subject] = after

    def add_effect(self, effect):
        self.effects.append(effect)


def own_handler(table, apply, on_error="raise", response=None):
    """A handler without the library, one event at a time. `apply` applies an event with a subject and a sequence."""

    def handler(lambda_event):
        for record in lambda_event["Records"]:
            data = base64.b64decode(record["kinesis"]["data"])
            event = decode(data, source=SOURCE, types=TYPES)
            if not hasattr(event, "sequence"):
                continue
            effect = (event.subject, event.sequence) if hasattr(event, "data") else None
            try:
                apply(table, event, effect)
            except Exception:
                if on_error == "raise":
                    raise
        return {"batchItemFailures": []} if response is None else response()

    return handler


def apply_correctly(table, event, effect):
    before = table.position(event.subject)
    if isinstance(check(before, event.sequence), Next):
        table.save(event.subject, before, event.sequence, effect)


def apply_duplicates(table, event, effect):
    before = table.position(event.subject)
    table.save(event.subject, before, event.sequence, effect)


def apply_after_a_gap(table, event, effect):
    before = table.position(event.subject)
    if not isinstance(check(before, event.sequence), Duplicate):
        table.save(event.subject, before, event.sequence, effect)


def apply_effect_first(table, event, effect):
    before = table.position(event.subject)
    if isinstance(check(before, event.sequence), Next):
        if effect is not None:
            table.add_effect(effect)
        table.set_position(event.subject, event.sequence)


def apply_position_first(table, event, effect):
    before = table.position(event.subject)
    if isinstance(check(before, event.sequence), Next):
        table.set_position(event.subject, event.sequence)
        if effect is not None:
            table.add_effect(effect)


def apply_without_condition(table, event, effect):
    before = table.position(event.subject)
    if isinstance(check(before, event.sequence), Next):
        table.save_without_condition(event.subject, event.sequence, effect)


def count_unknown_types_as_gaps(table, event, effect):
    if effect is not None:
        apply_correctly(table, event, effect)


class BrokenHandlers(unittest.TestCase):
    """Each rule is broken once, and the feed notices it."""

    def failures(self, apply, on_error="raise", response=None, **options):
        found = []
        for seed in range(SEEDS_FOR_BROKEN_HANDLERS):
            feed = make_feed(seed, **options)
            table = Table()
            try:
                feed.run(own_handler(feed.wrap(table), apply, on_error, response))
                feed.verify(grouped(table.effects))
            except FeedFailure as failure:
                self.assertIn(f"seed {seed}", str(failure))
                found.append(str(failure))
        return found

    def test_a_correct_handler_passes(self):
        self.assertEqual(self.failures(apply_correctly), [])
        self.assertEqual(self.failures(apply_correctly, gaps=True), [])

    def test_finds_a_handler_that_ignores_duplicates(self):
        options = {"kills": False, "failing_calls": False, "concurrency": False}
        self.assertGreater(len(self.failures(apply_duplicates, **options)), SEEDS_FOR_BROKEN_HANDLERS * 0.9)

    def test_finds_a_handler_that_applies_after_a_gap(self):
        self.assertGreater(len(self.failures(apply_after_a_gap, gaps=True)), SEEDS_FOR_BROKEN_HANDLERS / 2)

    def test_finds_a_handler_that_saves_state_and_effect_in_two_steps(self):
        for apply in (apply_effect_first, apply_position_first):
            with self.subTest(apply.__name__):
                found = self.failures(apply, concurrency=False, failing_calls=False)
                self.assertGreater(len(found), SEEDS_FOR_BROKEN_HANDLERS / 4)

    def test_finds_a_handler_that_saves_without_a_condition(self):
        found = self.failures(apply_without_condition, kills=False, failing_calls=False)
        self.assertGreater(len(found), SEEDS_FOR_BROKEN_HANDLERS / 4)

    def test_finds_a_handler_that_does_not_count_unknown_types(self):
        self.assertGreater(len(self.failures(count_unknown_types_as_gaps)), SEEDS_FOR_BROKEN_HANDLERS / 2)

    def test_finds_a_handler_that_returns_nothing_or_something_else(self):
        for response in (
            None, {}, [], "", {"batchItemFailures": None}, {"batchItemFailures": [{}]}, {"batchItemFailures": ["1"]},
            {"batchItemFailures": [{"itemIdentifier": None}]}, {"batchItemFailures": [{"itemIdentifier": "1"}]},
            {"batchItemFailures": [], "other": object()},
        ):  # fmt: skip
            with self.subTest(response):
                found = self.failures(apply_correctly, response=lambda response=response: response)
                self.assertEqual(len(found), SEEDS_FOR_BROKEN_HANDLERS)
                self.assertIn("the response", found[0])

    def test_finds_a_handler_that_swallows_failures(self):
        found = self.failures(apply_correctly, on_error="swallow", kills=False)
        self.assertGreater(len(found), SEEDS_FOR_BROKEN_HANDLERS / 4)

    def test_finds_a_handler_that_never_completes_a_batch(self):
        def fail(table, event, effect):
            raise RuntimeError("always")

        found = self.failures(fail)
        self.assertEqual(len(found), SEEDS_FOR_BROKEN_HANDLERS)
        self.assertIn("without progress", found[0])

        feed = make_feed(1)
        with self.assertRaisesRegex(FeedFailure, "without progress"):
            feed.run(
                lambda event: {
                    "batchItemFailures": [{"itemIdentifier": event["Records"][0]["kinesis"]["sequenceNumber"]}]
                }
            )

    def test_finds_a_handler_that_hangs(self):
        feed = make_feed(1, idle_seconds=0.01)
        end = threading.Event()
        self.addCleanup(end.set)
        with self.assertRaisesRegex(FeedFailure, "seed 1: an invocation neither returned"):
            feed.run(lambda event: end.wait())

    def test_the_failure_has_the_error_of_the_handler_as_its_cause(self):
        def handler(event):
            raise KeyError("the cause")

        with self.assertRaises(FeedFailure) as raised:
            make_feed(1).run(handler)
        self.assertIsInstance(raised.exception.__cause__, KeyError)

    def test_verify_finds_events_that_are_missing_repeated_or_in_another_order(self):
        feed = HostileFeed(1, {"a": history("a", 3)}, source=SOURCE, unknown_types=False)
        feed.verify({"a": [1, 2, 3]})
        for acted in ({}, {"a": [1, 2]}, {"a": [1, 2, 3, 3]}, {"a": [2, 1, 3]}, {"a": [1, 2, 3], "b": [1]}):
            with self.subTest(acted), self.assertRaises(FeedFailure):
                feed.verify(acted)

    def test_invalid_options(self):
        for options in ({"batch_size": 0}, {"max_deliveries": 9}):
            with self.assertRaises(ValueError):
                make_feed(1, **options)
        feed = make_feed(1)
        run_with_memory(feed)
        with self.assertRaises(RuntimeError):
            run_with_memory(feed)


if __name__ == "__main__":
    unittest.main()
