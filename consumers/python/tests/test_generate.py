"""The generated classes of both domains of this repository, and of schemas that neither of them has."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import PACKAGE, ROOT

from millrace_consumer import Event, InvalidData, Undecodable, decode, members
from millrace_consumer.generate import InvalidSchemas, generate, main
from millrace_consumer.testing import cloud_event

ACCOUNTS = ROOT / "contracts" / "schemas"
ORDERS = ROOT / "examples" / "orders" / "contracts" / "schemas"


def load(code, folder, name="generated_events"):
    """Import the code as a module. A file is needed, because dataclasses look their module up."""
    path = Path(folder) / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Generated(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def schemas(self, *documents, envelope=True):
        folder = self.folder / "schemas"
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        for number, document in enumerate(documents):
            (folder / f"{number}.json").write_text(json.dumps(document), encoding="utf-8")
        if envelope:
            document = {"properties": {"source": {"const": "urn:x"}}}
            (folder / "envelope.json").write_text(json.dumps(document), encoding="utf-8")
        return folder

    def schema(self, properties, required=(), name="Thing", version=1, **more):
        return {
            "$id": f"urn:millrace:schema:{name}:{version}",
            "type": "object",
            "properties": properties,
            "required": list(required),
            **more,
        }

    def module(self, *documents):
        return load(generate(self.schemas(*documents)), self.folder)

    def error(self, *documents, envelope=True):
        with self.assertRaises(InvalidSchemas) as raised:
            generate(self.schemas(*documents, envelope=envelope))
        return str(raised.exception)


class Accounts(Generated):
    def setUp(self):
        super().setUp()
        self.events = load(generate(ACCOUNTS), self.folder)

    def test_a_class_for_each_type_and_version(self):
        events = self.events
        self.assertEqual(events.SOURCE, "urn:millrace:accounts")
        self.assertEqual(
            events.TYPES,
            {
                ("AccountCreated", 1): events.AccountCreated,
                ("BalanceCredited", 1): events.BalanceCredited,
                ("BalanceWithdrawn", 1): events.BalanceWithdrawn,
                ("BalanceWithdrawn", 2): events.BalanceWithdrawn2,
            },
        )
        self.assertEqual((events.BalanceWithdrawn2.TYPE, events.BalanceWithdrawn2.VERSION), ("BalanceWithdrawn", 2))
        self.assertIn("Version 2 has the channel", events.BalanceWithdrawn2.__doc__)

    def test_reads_data_strictly(self):
        good = {"accountId": "a", "sequence": 2, "amount": 5, "channel": "atm", "currency": "EUR", "later": [1]}
        read = self.events.BalanceWithdrawn2.from_data
        expected = self.events.BalanceWithdrawn2(account_id="a", sequence=2, amount=5, channel="atm", currency="EUR")
        self.assertEqual(read(good), expected)
        with self.assertRaises(dataclasses.FrozenInstanceError):
            expected.amount = 6
        for member, values in {
            "accountId": ["", "a" * 257, 1, None],
            "sequence": [0, 2**53, "1", 1.0, True, None],
            "amount": [0, 2**53, "1", 1.5, True, None],
            "channel": ["ATM", "", 1, None],
            "currency": ["eur", "EURO", "EUR\n", "\u0415UR", 1, None],
        }.items():
            for value in values:
                with self.subTest(member=member, value=value), self.assertRaisesRegex(InvalidData, f"^{member} "):
                    read({**good, member: value})
            without = {name: value for name, value in good.items() if name != member}
            with self.subTest(member=member), self.assertRaisesRegex(InvalidData, f"^{member} is missing$"):
                read(without)
        for value in ([], None, "x", 1):
            with self.assertRaises(InvalidData):
                read(value)

    def test_decodes_the_golden_events_of_the_repository(self):
        files = sorted((ROOT / "tests" / "corpus").rglob("events.jsonl"))
        lines = [line for file in files for line in file.read_bytes().splitlines()]
        self.assertGreater(len(lines), 10)
        for line in lines:
            event = decode(line, source=self.events.SOURCE, types=self.events.TYPES)
            self.assertIsInstance(event, Event, line)
            self.assertEqual(event.trace_parent, json.loads(line).get("traceparent"))

    def test_an_event_of_the_contract_decodes(self):
        data = {"accountId": "a", "amount": 5, "currency": "EUR"}
        arguments = {"source": self.events.SOURCE, "type_name": "BalanceCredited", "version": 1, "subject": "a"}
        event = decode(
            cloud_event(**arguments, sequence=2, data=data), source=self.events.SOURCE, types=self.events.TYPES
        )
        self.assertEqual(event.data, self.events.BalanceCredited(account_id="a", amount=5, currency="EUR", sequence=2))
        invalid = cloud_event(**arguments, sequence=2, data={**data, "amount": -5})
        event = decode(invalid, source=self.events.SOURCE, types=self.events.TYPES)
        self.assertEqual(event, Undecodable("data: amount is less than 1", invalid))


class Orders(Generated):
    def test_nested_objects_and_arrays(self):
        events = load(generate(ORDERS), self.folder)
        data = {"orderId": "o", "sequence": 1, "units": 3, "lines": [{"sku": "A-1", "quantity": 3, "later": 1}]}
        placed = events.OrderPlaced.from_data(data)
        self.assertEqual(placed.lines, (events.OrderPlacedLinesItem(quantity=3, sku="A-1"),))
        for lines, message in {
            "[]": "lines has fewer than 1 items",
            "{}": "lines is not an array",
            '[{"sku":"A-1"}]': r"lines\[0\].quantity is missing",
            '[{"sku":"A-1","quantity":1},{"sku":"a","quantity":1}]': r"lines\[1\].sku does not match its pattern",
            '[{"sku":"A-1","quantity":true}]': r"lines\[0\].quantity is not an integer",
            "[5]": r"lines\[0\] is not an object",
        }.items():
            with self.subTest(lines), self.assertRaisesRegex(InvalidData, message):
                events.OrderPlaced.from_data({**data, "lines": json.loads(lines)})
        with self.assertRaisesRegex(InvalidData, "reason is not one of the allowed values"):
            events.OrderCancelled.from_data({"orderId": "o", "sequence": 1, "reason": "other"})


class OtherSchemas(Generated):
    def test_every_supported_keyword(self):
        address = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        module = self.module(
            self.schema(
                {
                    "isPaid": {"type": "boolean"},
                    "note": {"type": "string", "description": 'A "note" with \\ and """.'},
                    "ratio": {"type": "number", "minimum": 0, "maximum": 1},
                    "tags": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}, "maxItems": 2},
                    "address": address,
                    "home": {"$ref": "#/$defs/place"},
                    "maybe": {"type": ["string", "null"], "maxLength": 2},
                    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "person": {"anyOf": [address, {"type": "null"}]},
                    "shape": {
                        "oneOf": [
                            {"title": "Circle", "type": "object", "properties": {"r": {"type": "integer"}},
                             "required": ["r"]},
                            {"title": "Square", "type": "object", "properties": {"w": {"type": "integer"}},
                             "required": ["w"]},
                        ]
                    },
                    "tree": {"$ref": "#/$defs/node"},
                    "codes": {"enum": ["a", 1, None, True]},
                    "rates": {"enum": [0.5, 1]},
                    "kind": {"const": "thing"},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "free": {"type": "object"},
                    "anything": {},
                    "above": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3},
                    "class": {"type": "integer"},
                    "int": {"type": "integer"},
                    "some-thing": {"type": "integer"},
                    "1st": {"type": "integer"},
                    "HTTPCode": {"type": "integer"},
                    "pattern": {"type": "string", "pattern": "^(?<a>\\d\\/[$\\]]\\u{1F600})$"},
                },
                required=["isPaid", "unlisted"],
                **{"$defs": {
                    "place": address,
                    "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}},
                }},
            )
        )  # fmt: skip
        thing = module.Thing.from_data({"isPaid": True, "unlisted": [1]})
        absent = [it.name for it in dataclasses.fields(thing) if getattr(thing, it.name) is None]
        self.assertEqual(len(absent), len(dataclasses.fields(thing)) - 2)
        for member, attribute, good, bad in (
            ("note", "note", ["x"], [None, 1]),
            ("ratio", "ratio", [0, 0.5], [True, 2, "0"]),
            ("tags", "tags", [[["a"], []]], [[[], [], []], ["a"], "a"]),
            ("address", "address", [{"city": "x"}], [{}, {"city": 1}, None]),
            ("home", "home", [{"city": "x"}], [{}]),
            ("maybe", "maybe", ["x", None], ["xxx", 1]),
            ("either", "either", [1, "x"], [True, None]),
            ("person", "person", [{"city": "x"}, None], [{}]),
            ("shape", "shape", [{"r": 1}, {"w": 1}], [{}, 1]),
            ("tree", "tree", [{}, {"next": {"next": {}}}], [{"next": 1}]),
            ("codes", "codes", ["a", 1, None, True], ["b", False, 1.0]),
            ("rates", "rates", [0.5, 1], [True, 0.25]),
            ("kind", "kind", ["thing"], ["other"]),
            ("counts", "counts", [{}, {"a": 1}], [{"a": "x"}, []]),
            ("free", "free", [{"a": [1]}], [[]]),
            ("anything", "anything", [None, 1, {}], []),
            ("above", "above", [1, 2], [0, 3]),
            ("class", "class_", [1], ["x"]),
            ("int", "int_", [1], ["x"]),
            ("some-thing", "some_thing", [1], ["x"]),
            ("1st", "member_1_st", [1], ["x"]),
            ("HTTPCode", "http_code", [1], ["x"]),
            (
                "pattern",
                "pattern",
                ["1/$\U0001f600", "2/]\U0001f600"],
                ["1/$\U0001f600\n", "\u0661/$\U0001f600", "1/x"],
            ),
        ):
            for value in good:
                with self.subTest(member=member, value=value):
                    read = module.Thing.from_data({"isPaid": True, "unlisted": 1, member: value})
                    self.assertTrue(hasattr(read, attribute))
            for value in bad:
                with self.subTest(member=member, value=value), self.assertRaisesRegex(InvalidData, f"^{member}"):
                    module.Thing.from_data({"isPaid": True, "unlisted": 1, member: value})
        shape = module.Thing.from_data({"isPaid": True, "unlisted": 1, "shape": {"w": 1}}).shape
        self.assertEqual(shape, module.ThingShapeSquare(w=1))

    def test_names_of_types(self):
        names = ["order-placed", "com.example.paid", "2nd", "Event", "None", "placed"]
        module = self.module(*(self.schema({}, name=name) for name in names), self.schema({}, name="placed", version=3))
        self.assertEqual(
            {it.__name__ for it in module.TYPES.values()},
            {"OrderPlaced", "ComExamplePaid", "Type2nd", "Event", "None_", "Placed", "Placed3"},
        )
        self.assertEqual(module.TYPES["placed", 3].from_data({}), module.Placed3())

    def test_the_same_schemas_result_in_the_same_code(self):
        for folder in (ACCOUNTS, ORDERS):
            self.assertEqual(generate(folder), generate(folder))
            compile(generate(folder), "generated", "exec")
            self.assertLessEqual(max(map(len, generate(folder).splitlines())), 120)

    def test_errors_name_the_file_and_the_member(self):
        self.assertIn("no schemas", self.error())
        self.assertIn("envelope.json: no such file", self.error(self.schema({}), envelope=False))
        for document, reason in (
            ([], "0.json: is not a JSON Schema"),
            ({}, "0.json: is not a schema of an event: $id"),
            ({"$id": "urn:millrace:schema:A:01"}, "0.json: is not a schema of an event: $id"),
            ({"$id": "urn:millrace:schema:A:1", "type": "string"}, "0.json: the schema of the data is not an object's"),
            (self.schema([]), "0.json: properties or required is malformed"),
            (self.schema({"a": {"type": "strang"}}), "0.json: a: the schema has no type"),
            (self.schema({"a": {"not": {}}}), "0.json: a: the keyword not is not supported"),
            (self.schema({"a": 5}), "0.json: a: is not a schema"),
            (self.schema({"a": {"$ref": "other.json"}}), "0.json: a: $ref"),
            (self.schema({"a": {"$ref": "#/$defs/b"}}), "0.json: a: $ref"),
            (self.schema({"a": {"$ref": "#/$defs/b"}}, **{"$defs": {"b": {"$ref": "#/$defs/b"}}}), "refers to itself"),
            (self.schema({"a": {"type": "string", "pattern": "("}}), "0.json: a: the pattern"),
            (self.schema({"a": {"type": "string", "pattern": "\\p{L}"}}), "0.json: a: the pattern"),
            (self.schema({"a": {"type": "string", "maxLength": "1"}}), "0.json: a: maxLength"),
            (self.schema({"a": {"type": "integer", "minimum": "1"}}), "0.json: a: a limit"),
            (self.schema({"a": {"enum": []}}), "0.json: a: enum"),
            (self.schema({"a": {"const": {}}}), "0.json: a: a const"),
            (self.schema({"a": {"oneOf": []}}), "0.json: a: oneOf"),
            (self.schema({"a": {"allOf": [{}, {}]}}), "0.json: a: allOf"),
            (self.schema({"aB": {}, "a_b": {}}), "0.json: a_b: the attribute's name is a_b, like that of aB"),
            (self.schema({"a": {"type": "array", "items": {"type": "x"}}}), "0.json: a[]: the schema has no type"),
            (self.schema({}, name="SOURCE"), "0.json: the name of a class would be SOURCE"),
        ):
            with self.subTest(reason):
                self.assertIn(reason, self.error(document))
        same = self.error(self.schema({}, name="A", version=2), self.schema({}, name="A2"))
        self.assertIn("1.json: the name of a class would be A2, like a class of 0.json", same)
        folder = self.schemas(self.schema({}))
        (folder / "bad.json").write_text("{", encoding="utf-8")
        with self.assertRaisesRegex(InvalidSchemas, "bad.json: is not JSON"):
            generate(folder)
        (folder / "bad.json").unlink()
        (folder / "envelope.json").write_text('{"properties": []}', encoding="utf-8")
        with self.assertRaisesRegex(InvalidSchemas, "envelope.json: properties.source.const"):
            generate(folder)


class Command(Generated):
    def run_main(self, *arguments):
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main([str(it) for it in arguments])
        return code, errors.getvalue()

    def test_writes_a_file(self):
        out = self.folder / "events.py"
        self.assertEqual(self.run_main(ACCOUNTS, "--out", out), (0, ""))
        self.assertEqual(out.read_text(encoding="utf-8"), generate(ACCOUNTS))

    def test_writes_to_standard_output(self):
        command = [sys.executable, "-m", "millrace_consumer.generate", str(ACCOUNTS)]
        done = subprocess.run(command, cwd=PACKAGE / "src", capture_output=True, check=True)
        self.assertEqual(done.stdout.decode("utf-8"), generate(ACCOUNTS))

    def test_invalid_input_has_exit_code_2_and_one_line_that_names_the_file(self):
        missing = self.folder / "missing"
        self.assertEqual(self.run_main(missing), (2, f"error: {missing}: no such folder\n"))
        code, errors = self.run_main(ACCOUNTS, "--out", missing / "events.py")
        self.assertEqual((code, errors), (2, f"error: {missing / 'events.py'}: No such file or directory\n"))
        code, errors = self.run_main(self.folder)
        self.assertEqual(code, 2)
        self.assertIn(str(self.folder), errors)
        command = [sys.executable, "-m", "millrace_consumer.generate"]
        self.assertEqual(subprocess.run(command, cwd=PACKAGE / "src", capture_output=True).returncode, 2)

    def test_the_generated_module_needs_only_the_package(self):
        code = generate(ORDERS)
        imports = [line for line in code.splitlines() if line.startswith(("import", "from"))]
        self.assertEqual(len(imports), 4)
        self.assertTrue(hasattr(members, "required"))


if __name__ == "__main__":
    unittest.main()
