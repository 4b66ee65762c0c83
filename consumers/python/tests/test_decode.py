"""Decoding beyond the cases: what only Python would accept, and what the readers of members refuse."""

import json
import unittest
from datetime import datetime, timezone

from support import SOURCE, TYPES, event_bytes

from millrace_consumer import Event, InvalidData, Undecodable, decode, members
from millrace_consumer.event import parse_time


def changed(**envelope):
    document = json.loads(event_bytes("a:7"))
    document.update(envelope)
    return json.dumps(document).encode("utf-8")


def decoded(data):
    return decode(data, source=SOURCE, types=TYPES)


class Decode(unittest.TestCase):
    def test_refuses_what_only_python_reads(self):
        whole = event_bytes("a:7")
        for name, data in {
            "NaN": whole.replace(b'"amount":7', b'"amount":7,"other":NaN'),
            "UTF-16": whole.decode("utf-8").encode("utf-16"),
            "a byte order mark": b"\xef\xbb\xbf" + whole,
            "an unpaired surrogate": whole.replace(b'"EUR"', b'"\\ud800"'),
            "true as sequence": whole.replace(b'"sequence":7', b'"sequence":true'),
            "true as sequence and in the id": whole.replace(b'"sequence":7', b'"sequence":true').replace(
                b"a:7", b"a:True"
            ),
            "other digits in the version": whole.replace(b"BalanceCredited:1", "BalanceCredited:\u0661".encode()),
            "a very long version": whole.replace(b"BalanceCredited:1", b"BalanceCredited:" + b"1" * 5000),
            "a very long number": whole.replace(b'"amount":7', b'"amount":' + b"7" * 5000),
            "a deep list": b"[" * 100_000,
            "a deep list in an unknown member": whole.replace(b'"amount"', b'"deep":' + b"[" * 100_000 + b',"amount"'),
            "a newline after the version": whole.replace(b"BalanceCredited:1", b"BalanceCredited:1\\n"),
        }.items():
            with self.subTest(name):
                self.assertIsInstance(decoded(data), Undecodable)

    def test_a_paired_surrogate_is_a_character(self):
        data = event_bytes("a:7").replace(b'"EUR"', b'"\\ud83d\\ude00"')
        self.assertEqual(decoded(data).data.currency, "\U0001f600")

    def test_optional_members_of_another_type_are_undecodable_except_for_the_trace_parent(self):
        event = decoded(changed(correlationid=None, causationid=None, traceparent=["x"]))
        self.assertIsInstance(event, Event)
        self.assertEqual((event.correlation_id, event.causation_id, event.trace_parent), (None, None, None))
        for member in ("correlationid", "causationid"):
            for value in (5, True, [], {}):
                self.assertEqual(decoded(changed(**{member: value})).reason, f"{member} is not a string")
            unknown = decoded(changed(type="Later", dataschema="urn:millrace:schema:Later:1", **{member: 5}))
            self.assertIsInstance(unknown, Undecodable)

    def test_a_trace_parent_of_each_version(self):
        ids = f"{'a' * 32}-{'1' * 16}"
        for text, is_valid in {
            f"00-{ids}-00": True,
            f"00-{ids}-ff": True,
            f"cc-{ids}-01": True,
            f"01-{ids}-01-later-fields": True,
            f"01-{ids}-01-": True,
            f"00-{ids}-01-later": False,
            f"01-{ids}-01later": False,
            f"01-{ids}-01\n": False,
            f"ff-{ids}-01": False,
            f"00-{ids}-0": False,
            f"00-{ids}-0G": False,
            f"0-{ids}-01": False,
            f"00-{ids.upper()}-01": False,
            f"00-{'0' * 32}-{'1' * 16}-01": False,
            f"00-{'a' * 32}-{'0' * 16}-01": False,
        }.items():
            with self.subTest(text):
                self.assertEqual(decoded(changed(traceparent=text)).trace_parent, text if is_valid else None)

    def test_a_class_that_fails_makes_the_record_undecodable_without_its_message(self):
        class Failing:
            @classmethod
            def from_data(cls, data):
                raise KeyError(data["accountId"])

        result = decode(event_bytes("secret:7"), source=SOURCE, types={("BalanceCredited", 1): Failing})
        self.assertEqual(result.reason, "data can't be read: KeyError")

    def test_the_reason_names_the_member_and_contains_no_value(self):
        result = decoded(event_bytes("a:7", "BalanceCredited", 1, {"amount": "secret", "currency": "EUR"}))
        self.assertEqual(result.reason, "data: amount is not an integer")


class Time(unittest.TestCase):
    def test_times_in_rfc_3339(self):
        at = datetime(2026, 11, 20, 21, 3, 5, 0, timezone.utc)
        for text, expected in {
            "2026-11-20T21:03:05Z": at,
            "2026-11-20t21:03:05z": at,
            "2026-11-20T21:03:05.123456789Z": at.replace(microsecond=123456),
            "2026-11-20T22:33:05.5+01:30": at.replace(microsecond=500000),
            "2016-12-31T23:59:60Z": datetime(2016, 12, 31, 23, 59, 59, 0, timezone.utc),
        }.items():
            with self.subTest(text):
                self.assertEqual(parse_time(text), expected)

    def test_other_texts_are_no_times(self):
        for text in [
            "", "2026-11-20", "2026-11-20 21:03:05Z", "2026-11-20T21:03:05", "2026-11-20T24:00:00Z",
            "2026-11-20T21:60:05Z",
            "2026-11-20T21:03:60Z", "2026-11-20T21:03:61Z", "2026-02-29T21:03:05Z", "2026-11-20T21:03:05.Z",
            "2026-11-20T21:03:05+24:00", "2026-11-20T21:03:05+01:60", "2026-11-20T21:03:05+0100", "2026-11-20T21:03Z",
            "2026-11-20T21:03:05Z\n", "\u0662026-11-20T21:03:05Z", "0001-01-01T00:00:00+01:00",
        ]:  # fmt: skip
            with self.subTest(text):
                self.assertIsNone(parse_time(text))


class Members(unittest.TestCase):
    def refuses(self, reader, *values):
        for value in values:
            with self.subTest(value=value), self.assertRaises(InvalidData) as raised:
                reader(value, "lines[0].sku")
            self.assertTrue(str(raised.exception).startswith("lines[0].sku"), raised.exception)

    def test_readers_refuse_other_types_and_values_out_of_range(self):
        self.refuses(members.string(), 1, None, True, [], {})
        self.refuses(members.string(min_length=1, max_length=2), "", "abc")
        self.refuses(members.string(pattern="^[A-Z]{3}\\Z"), "eur", "EUR\n")
        self.refuses(members.integer(), True, 1.0, "1", None)
        self.refuses(members.integer(minimum=1, maximum=3), 0, 4)
        self.refuses(members.number(maximum=1), True, "1", 1.5)
        # Python reads 1e400 as infinity.
        self.refuses(members.number(), *json.loads("[1e400, -1e400]"))
        self.refuses(members.anything, *json.loads('[1e400, [{"a": -1e400}]]'))
        self.refuses(members.boolean, 0, "true", None)
        self.refuses(members.null, 0, False, "")
        self.refuses(members.one_of("a", 1, None), "b", True, 1.0, 0)
        self.refuses(members.array(members.boolean, min_items=1, max_items=2), [], [True] * 3, [1], {}, "ab")
        self.refuses(members.mapping(members.boolean), {"secret": 1}, [])
        self.refuses(members.either(members.boolean, members.string()), 1, None)
        self.refuses(members.members, [], None, "x")

    def test_readers_return_values(self):
        self.assertEqual(members.string(min_length=1, max_length=1)("\U0001f600", ""), "\U0001f600")
        self.assertEqual(members.integer(minimum=1)(2**53, ""), 2**53)
        self.assertEqual(members.number()(1.5, ""), 1.5)
        self.assertEqual(members.number()(10**400, ""), 10**400)
        self.assertEqual(members.anything([{"a": [1.5, None]}], ""), [{"a": [1.5, None]}])
        self.assertEqual(members.array(members.boolean)([True], ""), (True,))
        self.assertEqual(members.mapping(members.integer())({"a": 1}, ""), {"a": 1})
        self.assertEqual(members.either(members.boolean, members.string())("x", ""), "x")

    def test_a_member_that_is_null_is_not_absent(self):
        self.assertIsNone(members.optional({}, "note", members.string()))
        with self.assertRaisesRegex(InvalidData, "note is not a string"):
            members.optional({"note": None}, "note", members.string())
        with self.assertRaisesRegex(InvalidData, "order.note is missing"):
            members.required({}, "note", members.string(), "order")


if __name__ == "__main__":
    unittest.main()
