"""What the cases can't express: states, retries, transactions, errors and logs."""

import functools
import json
import logging
import threading
import unittest
import warnings
from datetime import datetime, timezone

from support import SOURCE, TYPES, batch, event_bytes

from millrace_consumer import (
    Change,
    Consumer,
    DynamoDBPositions,
    InvalidBatch,
    InvalidPosition,
    MemoryPositions,
    Position,
    PositionChanged,
    PositionGap,
)
from millrace_consumer.consumer import MAX_ATTEMPTS
from millrace_consumer.testing import FakeClientError, FakeDynamoDB

COMPLETED = {"batchItemFailures": []}


def incomplete(position):
    return {"batchItemFailures": [{"itemIdentifier": str(100 + position)}]}


def events(*ids):
    return batch(*map(event_bytes, ids))


def consumer(positions, handler=lambda event, state: Change(None, [event.id]), **options):
    arguments = {
        "source": SOURCE,
        "types": TYPES,
        "on_undecodable": lambda record: None,
        "concurrency": 1,
        "sleep": lambda seconds: None,
    }
    return Consumer(handler=handler, positions=positions, **{**arguments, **options})


def put(event, **more):
    return {"Put": {"TableName": "effects", "Item": {"Id": {"S": event.id}}, **more}}


def tables():
    return FakeDynamoDB({"positions": ["Subject"], "effects": ["Id"]})


class QuietTests(unittest.TestCase):
    def setUp(self):
        logging.getLogger("millrace_consumer").setLevel(logging.CRITICAL)

    def tearDown(self):
        logging.getLogger("millrace_consumer").setLevel(logging.NOTSET)


class States(QuietTests):
    def test_the_handler_gets_the_state_that_it_returned_for_the_event_before(self):
        positions = MemoryPositions()
        seen = []

        def handler(event, state):
            seen.append(state)
            return Change({"sum": event.sequence + (state or {"sum": 0})["sum"], "text": "\u00fc"})

        consumer(positions, handler).process(events("a:1", "a:2", "b:1"))
        consumer(positions, handler).process(events("a:3"))
        self.assertEqual(seen, [None, {"sum": 1, "text": "ü"}, None, {"sum": 3, "text": "ü"}])
        self.assertEqual(positions.read("a"), Position(3, '{"sum":6,"text":"ü"}'))

    def test_a_handler_that_changes_its_state_and_fails_leaves_the_saved_state_unchanged(self):
        positions = MemoryPositions()

        def handler(event, state):
            state = state if state is not None else []
            state.append(event.sequence)
            if event.sequence == 3:
                raise RuntimeError
            return Change(state)

        self.assertEqual(consumer(positions, handler).process(events("a:1", "a:2", "a:3")), incomplete(2))
        self.assertEqual(positions.read("a"), Position(2, "[1,2]"))

    def test_a_result_that_cannot_be_saved_makes_the_aggregate_incomplete_from_its_event_on(self):
        circular = []
        circular.append(circular)
        for result in (
            None, {"state": 1}, Change(object()), Change(float("nan")), Change({1, 2}), Change(None, None),
            Change({"a": [float("inf")]}), Change({1: "a"}), Change({"a": {None: 1}}), Change({1: "a", "1": "b"}),
            Change("\ud800"), Change(circular),
        ):  # fmt: skip
            with self.subTest(result):
                positions = MemoryPositions()

                def handler(event, state, result=result):
                    return result if event.id == "a:2" else Change("fine", [event.id])

                response = consumer(positions, handler).process(events("a:1", "b:1", "a:2", "a:3"))
                self.assertEqual(response, incomplete(2))
                self.assertEqual(sorted(positions.writes), ["a:1", "b:1"])

    def test_a_tuple_in_a_state_becomes_a_list(self):
        positions = MemoryPositions()
        states = []

        def handler(event, state):
            states.append(state)
            return Change({"last": (1, (2.5, "ü"), [None, True])})

        self.assertEqual(consumer(positions, handler).process(events("a:1", "a:2")), COMPLETED)
        self.assertEqual(states, [None, {"last": [1, [2.5, "ü"], [None, True]]}])

    def test_a_refused_state_is_logged_with_its_reason_and_without_its_content(self):
        for state, reason in (({1: "secret"}, "is another one after"), ({"secret": {1}}, "can't be written as JSON")):
            with self.assertLogs("millrace_consumer", logging.ERROR) as logs:
                consumer(MemoryPositions(), lambda event, _, state=state: Change(state)).process(events("a:1"))
            self.assertIn(reason, logs.output[0])
            self.assertNotIn("secret", logs.output[0])

    def test_a_state_of_none_removes_the_state(self):
        positions = DynamoDBPositions(tables(), "positions")
        consumer(positions, lambda event, state: Change({"a": 1})).process(events("a:1"))
        self.assertEqual(positions.read("a").state, '{"a":1}')
        consumer(positions, lambda event, state: Change(None)).process(events("a:2"))
        self.assertEqual(positions.read("a"), Position(2))


class FasterInvocation(QuietTests):
    class Positions(MemoryPositions):
        """Another invocation is faster for the first saves."""

        def __init__(self, times, act):
            super().__init__()
            self.times, self.act, self.reads = times, act, 0

        def read(self, subject):
            self.reads += 1
            return super().read(subject)

        def save(self, subject, before, after, writes):
            if self.times:
                self.times -= 1
                self.act(self, before)
            super().save(subject, before, after, writes)

    def test_reads_the_position_again_and_skips_what_the_other_one_applied(self):
        def other(positions, before):
            MemoryPositions.save(positions, "a", before, Position(1, '"other"'), ["other a:1"])

        positions = self.Positions(1, other)
        states = []

        def handler(event, state):
            states.append((event.sequence, state))
            return Change("mine", [event.id])

        self.assertEqual(consumer(positions, handler).process(events("a:1", "a:2")), COMPLETED)
        self.assertEqual(positions.writes, ["other a:1", "a:2"])
        self.assertEqual(states, [(1, None), (2, "mine"), (2, "other")])

    def test_a_throttled_transaction_is_repeated_and_not_divided(self):
        for reason in ("ThrottlingError", "ProvisionedThroughputExceeded"):
            client = tables()
            sizes = []
            throttled = [FakeClientError("TransactionCanceledException", "", [{"Code": "None"}, {"Code": reason}])] * 2

            class Client:
                get_item = client.get_item

                def transact_write_items(self, client=client, throttled=throttled, sizes=sizes, **request):
                    sizes.append(len(request["TransactItems"]))
                    if throttled:
                        raise throttled.pop()
                    client.transact_write_items(**request)

            pauses = []
            it = consumer(
                DynamoDBPositions(Client(), "positions"),
                lambda event, state: Change(None, [put(event)]),
                sleep=pauses.append,
                jitter=lambda: 0.5,
            )
            self.assertEqual(it.process(events("a:1", "a:2")), COMPLETED)
            self.assertEqual((sizes, pauses), ([3, 3, 3], [0.01, 0.02]))

    def test_a_gap_of_another_invocation_is_kept(self):
        gap = PositionGap(2, 9, "2026-01-01T00:00:00.000Z")

        def other(positions, before):
            MemoryPositions.save(positions, "a", before, Position(before.sequence, None, gap), [])

        positions = self.Positions(1, other)
        self.assertEqual(consumer(positions).process(events("a:1")), COMPLETED)
        self.assertEqual(positions.read("a"), Position(1, None, gap))

    def test_after_a_few_attempts_the_aggregate_is_incomplete(self):
        def conflict(positions, before):
            raise PositionChanged

        pauses = []
        positions = self.Positions(MAX_ATTEMPTS, conflict)
        it = consumer(positions, sleep=pauses.append, jitter=lambda: 0.5)
        MemoryPositions.save(positions, "a", Position(), Position(1), [])
        with self.assertLogs("millrace_consumer", logging.ERROR) as logs:
            self.assertEqual(it.process(events("a:1", "a:2", "a:3")), incomplete(1))
        self.assertRegex(logs.output[0], "not saved after 6 attempts.* changed it or transactions were throttled.*:101 ")
        self.assertEqual(positions.reads, MAX_ATTEMPTS)
        self.assertEqual(len(pauses), MAX_ATTEMPTS - 1)
        self.assertEqual(pauses, sorted(pauses))
        self.assertLess(sum(pauses), 1)
        self.assertEqual(it.process(events("a:1", "a:2", "a:3")), COMPLETED)


class Errors(QuietTests):
    def test_an_event_that_is_no_batch_raises_before_anything_is_processed(self):
        positions = MemoryPositions()
        good = events("a:1")["Records"][0]
        for lambda_event in (
            None, [], {}, {"Records": None}, {"Records": {}}, {"Records": [good, None]}, {"Records": [good, {}]},
            {"Records": [good, {"kinesis": {"data": ""}}]}, {"Records": [good, {"kinesis": {"sequenceNumber": ""}}]},
        ):  # fmt: skip
            with self.subTest(lambda_event), self.assertRaises(InvalidBatch):
                consumer(positions).process(lambda_event)
        self.assertEqual(positions.positions, {})

    def test_data_that_is_not_base64_is_incomplete(self):
        for data in ("a", "%%%%", "YQ==YQ==", "YQ", 5, None, "ü"):
            with self.subTest(data):
                lambda_event = events("a:1", "a:2")
                lambda_event["Records"][1]["kinesis"]["data"] = data
                self.assertEqual(consumer(MemoryPositions()).process(lambda_event), incomplete(1))

    def test_coroutine_functions_are_refused(self):
        async def function(*arguments):
            return Change(None)

        class Callable:
            async def __call__(self, *arguments):
                return Change(None)

        for it in (function, functools.partial(function, 1), Callable(), Callable().__call__):
            with self.assertRaisesRegex(TypeError, "on_undecodable is a coroutine function"):
                consumer(MemoryPositions(), on_undecodable=it)
            with self.assertRaisesRegex(TypeError, "handler is a coroutine function"):
                consumer(MemoryPositions(), it)

    def test_an_awaitable_result_is_a_failure(self):
        async def function(*arguments):
            return Change(None)

        class Awaitable:
            def __await__(self):
                return iter(())

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for result in (function, Awaitable):
                it = consumer(MemoryPositions(), on_undecodable=lambda record, result=result: result())
                self.assertEqual(it.process(batch(event_bytes("a:1"), b"no event")), incomplete(1))
                it = consumer(MemoryPositions(), lambda event, state, result=result: result())
                self.assertEqual(it.process(events("a:1")), incomplete(0))
        self.assertEqual(caught, [])

    def test_a_record_without_an_event_id_has_its_sequence_number(self):
        ids = []
        lambda_event = batch(b"no event", b"no event", b"no event")
        del lambda_event["Records"][0]["eventID"]
        lambda_event["Records"][1]["eventID"] = ""
        consumer(MemoryPositions(), on_undecodable=lambda record: ids.append(record.event_id)).process(lambda_event)
        self.assertEqual(ids, ["100", "101", "shard:102"])

    def test_positions_in_memory_have_the_limit_of_dynamodb(self):
        for positions in (MemoryPositions(), DynamoDBPositions(tables(), "positions")):
            self.assertEqual(positions.max_writes, 99)
        it = consumer(MemoryPositions(), lambda event, state: Change(None, [event.id] * 100))
        self.assertEqual(it.process(events("a:1")), incomplete(0))

    def test_ten_aggregates_at_the_same_time_by_default(self):
        barrier = threading.Barrier(10, timeout=30)

        def handler(event, state):
            barrier.wait()
            return Change(None)

        it = Consumer(
            source=SOURCE, types=TYPES, handler=handler, positions=MemoryPositions(), on_undecodable=lambda record: None
        )
        self.assertEqual(it.process(events(*(f"{number}:1" for number in range(20)))), COMPLETED)

    def test_an_aggregate_whose_position_cannot_be_read_affects_no_other(self):
        class Positions(MemoryPositions):
            def read(self, subject):
                if subject == "a":
                    raise OSError
                return super().read(subject)

        for concurrency in (1, 2):
            positions = Positions()
            response = consumer(positions, concurrency=concurrency).process(events("b:1", "a:1", "a:2", "b:2"))
            self.assertEqual(response, incomplete(1))
            self.assertEqual(positions.writes, ["b:1", "b:2"])

    def test_a_skipped_event_before_a_failing_one_is_recorded_because_it_is_completed(self):
        def handler(event, state):
            if event.id == "a:2":
                raise RuntimeError
            return Change(None, [event.id])

        positions = MemoryPositions()
        clock = datetime(2026, 11, 20, 21, 3, 5, 123999, timezone.utc)
        it = consumer(positions, handler, clock=lambda: clock)
        self.assertEqual(it.process(events("a:1", "a:5", "a:2", "a:7")), incomplete(2))
        self.assertEqual(positions.read("a"), Position(1, None, PositionGap(2, 5, "2026-11-20T21:03:05.123Z")))

    def test_a_gap_that_cannot_be_stored_makes_the_skipped_event_incomplete(self):
        class Positions(MemoryPositions):
            def save(self, *arguments):
                raise OSError

        self.assertEqual(consumer(Positions()).process(events("b:2", "a:3", "a:4")), incomplete(0))

    def test_a_gap_is_saved_together_with_the_events(self):
        class Positions(MemoryPositions):
            max_writes = 1
            saves = 0

            def save(self, *arguments):
                self.saves += 1
                super().save(*arguments)

        positions = Positions()
        self.assertEqual(consumer(positions).process(events("a:5", "a:1", "a:6", "a:2", "a:9")), COMPLETED)
        self.assertEqual(positions.saves, 2)
        self.assertEqual((positions.read("a").sequence, positions.read("a").gap.seen), (2, 9))

    def test_after_a_saved_event_only_the_later_ones_are_incomplete(self):
        class Positions(MemoryPositions):
            max_writes = 1

            def save(self, subject, before, after, writes):
                if after.sequence > 1:
                    raise PositionChanged
                super().save(subject, before, after, writes)

            def read(self, subject):
                if self.writes:
                    raise OSError
                return super().read(subject)

        self.assertEqual(consumer(Positions()).process(events("a:1", "a:2", "a:3")), incomplete(1))

    def test_concurrency_is_at_least_one(self):
        with self.assertRaises(ValueError):
            consumer(MemoryPositions(), concurrency=0)


class Transactions(QuietTests):
    def setUp(self):
        super().setUp()
        self.client = tables()
        self.positions = DynamoDBPositions(self.client, "positions")

    def transactions(self):
        return [len(it["TransactItems"]) for name, it in self.client.requests if name == "transact_write_items"]

    def effects(self):
        return [item["Id"]["S"] for item in self.client.items("effects")]

    def test_one_transaction_for_the_events_of_an_aggregate(self):
        it = consumer(self.positions, lambda event, state: Change(None, [put(event)]))
        self.assertEqual(it.process(events("a:1", "a:2", "b:1")), COMPLETED)
        self.assertEqual(self.transactions(), [3, 2])

    def test_at_most_100_items_and_never_a_part_of_an_event(self):
        it = consumer(self.positions, lambda event, state: Change(None, [put(event)]))
        self.assertEqual(it.process(events(*(f"a:{sequence}" for sequence in range(1, 251)))), COMPLETED)
        self.assertEqual(self.transactions(), [100, 100, 53])

        def forty(event, state):
            entries = [{"Put": {"TableName": "effects", "Item": {"Id": {"S": f"{event.id}:{it}"}}}} for it in range(40)]
            return Change(None, entries)

        self.client.requests.clear()
        self.assertEqual(consumer(self.positions, forty).process(events("b:1", "b:2", "b:3")), COMPLETED)
        self.assertEqual(self.transactions(), [81, 41])

    def test_an_event_with_too_many_writes_is_incomplete(self):
        def handler(event, state):
            count = 100 if event.id == "a:2" else 99
            entries = [
                {"Put": {"TableName": "effects", "Item": {"Id": {"S": f"{event.id}:{it}"}}}} for it in range(count)
            ]
            return Change(None, entries)

        self.assertEqual(consumer(self.positions, handler).process(events("a:1", "b:1", "a:2")), incomplete(2))
        self.assertEqual(self.positions.read("a").sequence, 1)

    def test_events_that_write_the_same_item_are_saved_one_at_a_time(self):
        def handler(event, state):
            update = {
                "TableName": "effects",
                "Key": {"Id": {"S": event.subject}},
                "UpdateExpression": "ADD Events :One",
                "ExpressionAttributeValues": {":One": {"N": "1"}},
            }
            return Change(None, [{"Update": update}])

        self.assertEqual(consumer(self.positions, handler).process(events("a:1", "a:2", "a:3")), COMPLETED)
        self.assertEqual(self.client.items("effects"), [{"Id": {"S": "a"}, "Events": {"N": "3"}}])

    def test_a_failed_condition_of_a_write_is_an_error_of_its_event(self):
        self.client.put_item(TableName="effects", Item={"Id": {"S": "a:2"}})
        calls = []

        def handler(event, state):
            calls.append(event.id)
            return Change(None, [put(event, ConditionExpression="attribute_not_exists(Id)")])

        it = consumer(self.positions, handler)
        self.assertEqual(it.process(events("a:1", "a:9", "a:2", "b:1", "a:3")), incomplete(2))
        self.assertEqual(sorted(self.effects()), ["a:1", "a:2", "b:1"])
        self.assertEqual((self.positions.read("a").sequence, self.positions.read("a").gap.seen), (1, 9))
        # It isn't repeated like a position that another invocation has changed.
        self.assertEqual(calls, ["a:1", "a:2", "a:3", "b:1"])

    def test_a_transaction_that_took_effect_although_it_failed_is_not_repeated(self):
        class Client:
            def __init__(self, client):
                self.client, self.failures = client, 1

            def __getattr__(self, name):
                return getattr(self.client, name)

            def transact_write_items(self, **request):
                self.client.transact_write_items(**request)
                if self.failures:
                    self.failures -= 1
                    raise TimeoutError

        for ids in (["a:1"], ["b:1", "b:2", "b:3"]):
            positions = DynamoDBPositions(Client(self.client), "positions")
            it = consumer(positions, lambda event, state: Change(None, [put(event)]))
            response = it.process(events(*ids))
            if len(ids) == 1:
                self.assertEqual(response, incomplete(0))
                response = it.process(events(*ids))
            self.assertEqual(response, COMPLETED)
        self.assertEqual(self.effects(), ["a:1", "b:1", "b:2", "b:3"])


class Requests(QuietTests):
    def test_the_item_of_a_position(self):
        client = tables()
        positions = DynamoDBPositions(client, "positions")
        gap = PositionGap(8, 9, "2026-11-20T21:03:05.123Z")
        positions.save("a", Position(), Position(7, '{"a":1}', gap), [])
        item = {
            "Subject": {"S": "a"},
            "Sequence": {"N": "7"},
            "State": {"S": '{"a":1}'},
            "Missing": {"N": "8"},
            "SeenThrough": {"N": "9"},
            "GapSince": {"S": "2026-11-20T21:03:05.123Z"},
        }
        self.assertEqual(client.items("positions"), [item])
        self.assertEqual(positions.read("a"), Position(7, '{"a":1}', gap))
        positions.save("a", Position(7, '{"a":1}', gap), Position(9), [])
        self.assertEqual(client.items("positions"), [{"Subject": {"S": "a"}, "Sequence": {"N": "9"}}])
        positions.save("b", Position(), Position(0, None, PositionGap(1, 3, "x")), [])
        self.assertNotIn("Sequence", client.items("positions")[1])
        self.assertEqual(positions.read("b"), Position(0, None, PositionGap(1, 3, "x")))
        self.assertEqual(positions.read("c"), Position())

    def test_requests(self):
        client = tables()
        positions = DynamoDBPositions(client, "positions")
        positions.read("a")
        positions.save("a", Position(), Position(1), [])
        positions.save("a", Position(1), Position(2), [{"Put": {"TableName": "effects", "Item": {"Id": {"S": "x"}}}}])
        (get, read), (update, alone), (transact, together) = client.requests
        self.assertEqual((get, update, transact), ("get_item", "update_item", "transact_write_items"))
        self.assertEqual(read, {"TableName": "positions", "Key": {"Subject": {"S": "a"}}, "ConsistentRead": True})
        self.assertEqual(
            alone["ConditionExpression"], "attribute_not_exists(#Sequence) AND attribute_not_exists(#SeenThrough)"
        )
        position = together["TransactItems"][0]["Update"]
        self.assertEqual(
            position["ConditionExpression"], "#Sequence = :BeforeSequence AND attribute_not_exists(#SeenThrough)"
        )
        self.assertEqual(
            position["ExpressionAttributeValues"], {":BeforeSequence": {"N": "1"}, ":Sequence": {"N": "2"}}
        )
        self.check_with_botocore(client.requests)

    def check_with_botocore(self, requests):
        """Compare the requests with the model of the API, where botocore is installed."""
        try:
            import botocore.session
            import botocore.validate
        except ImportError:
            print("botocore isn't installed: the requests were not compared with the API's model")
            return
        service = botocore.session.get_session().get_service_model("dynamodb")
        operations = {"get_item": "GetItem", "update_item": "UpdateItem", "transact_write_items": "TransactWriteItems"}
        for name, request in requests:
            report = botocore.validate.ParamValidator().validate(
                request, service.operation_model(operations[name]).input_shape
            )
            self.assertFalse(report.has_errors(), report.generate_report())

    def test_errors_of_a_position_that_was_changed(self):
        canceled = "TransactionCanceledException"
        write = {"Put": {"TableName": "effects", "Item": {"Id": {"S": "x"}}}}
        for code, reasons, is_changed in (
            ("ConditionalCheckFailedException", None, True),
            ("TransactionConflictException", None, True),
            ("TransactionInProgressException", None, True),
            (canceled, ["ConditionalCheckFailed", "None"], True),
            (canceled, ["ConditionalCheckFailed", "ConditionalCheckFailed"], True),
            (canceled, ["TransactionConflict", "None"], True),
            (canceled, ["None", "TransactionConflict"], True),
            (canceled, ["None", "ConditionalCheckFailed"], False),
            (canceled, ["None", "ThrottlingError"], True),
            (canceled, ["ProvisionedThroughputExceeded", "None"], True),
            (canceled, ["None", "ValidationError"], False),
            (canceled, None, False),
            ("ProvisionedThroughputExceededException", None, False),
        ):
            with self.subTest(code=code, reasons=reasons):
                error = FakeClientError(code, "", None if reasons is None else [{"Code": it} for it in reasons])

                class Client:
                    def transact_write_items(self, error=error, **request):
                        raise error

                with self.assertRaises(Exception) as raised:
                    DynamoDBPositions(Client(), "positions").save("a", Position(), Position(1), [write])
                self.assertEqual(isinstance(raised.exception, PositionChanged), is_changed)

    def test_a_malformed_item_is_not_taken_as_no_position(self):
        for item in (
            {"Sequence": {"S": "1"}},
            {"Sequence": {"N": "1.5"}},
            {"State": {"M": {}}},
            {"Sequence": {"N": "0"}},
            {"Sequence": {"N": str(2**53)}},
            {"SeenThrough": {"N": "3"}},
            {"Missing": {"N": "1"}},
            {"Missing": {"N": "1"}, "GapSince": {"S": "2026-01-01T00:00:00.000Z"}},
            {"Missing": {"N": "1"}, "SeenThrough": {"N": "2"}, "GapSince": {"N": "2"}},
        ):
            with self.subTest(item):
                client = tables()
                client.put_item(TableName="positions", Item={"Subject": {"S": "a"}, **item})
                positions = DynamoDBPositions(client, "positions")
                it = consumer(positions, lambda event, state: Change(None))
                self.assertEqual(it.process(events("b:1", "a:1")), incomplete(1))
                with self.assertRaises(InvalidPosition) as raised:
                    positions.read("a")
                self.assertIn(str(raised.exception).split()[0], item.keys() | {"Missing", "SeenThrough"})

    def test_the_time_of_a_gap_may_be_absent(self):
        client = tables()
        item = {"Subject": {"S": "a"}, "Missing": {"N": "1"}, "SeenThrough": {"N": "5"}}
        client.put_item(TableName="positions", Item=item)
        positions = DynamoDBPositions(client, "positions")
        clock = datetime(2026, 11, 20, 21, 3, 5, 0, timezone.utc)
        it = consumer(positions, lambda event, state: Change(None), clock=lambda: clock)
        # Nothing has changed, so nothing is saved.
        self.assertEqual(it.process(events("a:5")), COMPLETED)
        self.assertEqual(client.items("positions"), [item])
        self.assertEqual(it.process(events("a:1")), COMPLETED)
        self.assertEqual(positions.read("a"), Position(1, None, PositionGap(2, 5, "2026-11-20T21:03:05.000Z")))


class Logs(unittest.TestCase):
    def test_logs_contain_record_ids_and_reasons_and_no_aggregate_ids_or_payloads(self):
        def handler(event, state):
            if event.sequence == 2:
                raise ValueError(f"failed for {event.subject} with {event.data}")
            return Change(None, [event.id])

        def on_undecodable(record):
            if record.position == 5:
                raise KeyError("secret")

        class Positions(MemoryPositions):
            def save(self, subject, before, after, writes):
                if subject == "secret-c":
                    raise FakeClientError("ThrottlingException", f"throttled {subject}")
                super().save(subject, before, after, writes)

        datas = [
            event_bytes("secret-a:1"),
            event_bytes("secret-a:2"),
            event_bytes("secret-b:5"),
            event_bytes("secret-c:1"),
            b"secret",
            b"secret",
            None,
            event_bytes("secret-d:1", "BalanceCredited", 2, {"secret": "secret"}),
        ]
        with self.assertLogs("millrace_consumer", logging.DEBUG) as logs:
            consumer(Positions(), handler, on_undecodable=on_undecodable).process(batch(*datas))
        text = "\n".join(logs.output)
        self.assertNotIn("secret", text)
        self.assertNotIn("EUR", text)
        for position in (1, 2, 3, 4, 5, 6, 7):
            self.assertIn(f"shard:{100 + position}", text)
        for reason in ("ValueError", "ThrottlingException", "is not JSON", "earlier events are missing", "version 2"):
            self.assertIn(reason, text)
        self.assertIn(
            "records=8 aggregates=4 applied=1 duplicates=0 unknown=0 skipped=2 undecodable=1 incomplete=4",
            logs.output[-1],
        )
        json.dumps(text)


if __name__ == "__main__":
    unittest.main()
