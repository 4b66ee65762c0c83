"""The notifier: its rules, and its promise under faults. The tests need no AWS and no boto3."""

import logging
import os
import subprocess
import sys
import types
import unittest
from pathlib import Path
from unittest import mock

from millrace_consumer import generate
from millrace_consumer.testing import FakeDynamoDB, HistoryEvent, HostileFeed, cloud_event, lambda_event

SERVICE = Path(__file__).resolve().parents[1]
SCHEMAS = SERVICE.parents[1] / "contracts" / "schemas"
ENVIRONMENT = {
    "POSITIONS_TABLE": "positions",
    "NOTIFICATIONS_TABLE": "notifications",
    "UNDECODABLE_TABLE": "undecodable",
    "AWS_DEFAULT_REGION": "eu-central-1",
}

sys.path.insert(0, str(SERVICE))
# The module starts the service, as in Lambda. The tests create handlers with clients of their own.
boto3 = types.SimpleNamespace(client=lambda name: None)
with mock.patch.dict(os.environ, ENVIRONMENT), mock.patch.dict(sys.modules, {"boto3": boto3}):
    import app
    import events


def setUpModule():
    logging.getLogger("millrace_consumer").setLevel(logging.CRITICAL)


def tables():
    return FakeDynamoDB(
        {"positions": ["Subject"], "notifications": ["Account", "Sequence"], "undecodable": ["StreamId"]}
    )


def created(account="a", currency="EUR"):
    return HistoryEvent("AccountCreated", {"accountId": account, "currency": currency})


def credited(amount, account="a", currency="EUR"):
    return HistoryEvent("BalanceCredited", {"accountId": account, "amount": amount, "currency": currency})


def withdrawn(amount, account="a", version=1, currency="EUR"):
    channel = {"channel": "atm"} if version == 2 else {}
    data = {"accountId": account, "amount": amount, "currency": currency, **channel}
    return HistoryEvent("BalanceWithdrawn", data, version)


def expected_notifications(feed_events, threshold):
    """The notifications for the events of an account, calculated without the service."""
    balance, result = 0, []
    for event in feed_events:
        before = balance
        if event.type == "BalanceCredited":
            balance += event.data["amount"]
        elif event.type == "BalanceWithdrawn":
            balance -= event.data["amount"]
            if before >= threshold > balance:
                result.append((event.subject, event.sequence, balance, event.data["currency"], threshold))
    return result


def notifications(client):
    return sorted(
        (
            item["Account"]["S"],
            int(item["Sequence"]["N"]),
            int(item["Balance"]["N"]),
            item["Currency"]["S"],
            int(item["Threshold"]["N"]),
        )
        for item in client.items("notifications")
    )


def recorded_gaps(client):
    return {
        item["Subject"]["S"]: (int(item["Missing"]["N"]), int(item["SeenThrough"]["N"]))
        for item in client.items("positions")
        if "Missing" in item
    }


class Rules(unittest.TestCase):
    def deliver(self, *history, low_balance=None):
        client = tables()
        environment = {**ENVIRONMENT, **({"LOW_BALANCE": low_balance} if low_balance else {})}
        handler = app.create_handler(app.Configuration.from_environment(environment), client)
        datas = [
            cloud_event(
                source=events.SOURCE,
                type_name=event.type,
                version=event.version,
                subject="a",
                sequence=sequence,
                data=event.data,
            )
            for sequence, event in enumerate(history, 1)
        ]
        self.assertEqual(handler(lambda_event(datas), None), {"batchItemFailures": []})
        return notifications(client)

    def test_notifies_when_a_withdrawal_brings_the_balance_below_the_threshold(self):
        self.assertEqual(self.deliver(created(), credited(10_000), withdrawn(1)), [("a", 3, 9_999, "EUR", 10_000)])

    def test_the_threshold_itself_is_not_low(self):
        self.assertEqual(self.deliver(created(), credited(10_001), withdrawn(1)), [])

    def test_a_low_balance_is_notified_once_until_it_was_high_again(self):
        history = [created(), credited(10_000), withdrawn(5), withdrawn(5), credited(10), withdrawn(6, version=2)]
        self.assertEqual([it[1] for it in self.deliver(*history)], [3, 6])

    def test_a_balance_that_was_never_high_is_not_notified(self):
        self.assertEqual(self.deliver(created(), credited(500), withdrawn(100)), [])

    def test_the_threshold_is_configurable(self):
        history = [created(currency="JPY"), credited(50, currency="JPY"), withdrawn(1, currency="JPY")]
        self.assertEqual(self.deliver(*history, low_balance="50"), [("a", 3, 49, "JPY", 50)])
        self.assertEqual(self.deliver(*history), [])


class UndecodableRecords(unittest.TestCase):
    def test_a_record_above_the_limit_of_an_item_is_stored_in_part(self):
        client = tables()
        handler = app.create_handler(app.Configuration.from_environment(ENVIRONMENT), client)
        datas = [b"no event", b"x" * 300_000, b"y" * 1_000_000, b""]
        self.assertEqual(handler(lambda_event(datas), None), {"batchItemFailures": []})
        items = client.items("undecodable")
        self.assertEqual([item["Data"]["B"] for item in items], [data[:300_000] for data in datas])
        self.assertEqual([int(item["Length"]["N"]) for item in items], [8, 300_000, 1_000_000, 0])


class Faults(unittest.TestCase):
    def test_each_notification_is_written_exactly_once(self):
        configuration = app.Configuration.from_environment(ENVIRONMENT)
        total = 0
        for seed in range(100):
            histories = {
                account: [
                    created(account),
                    credited(12_000, account),
                    withdrawn(3_000, account),
                    credited(1_500 + seed, account),
                    withdrawn(700, account, version=2),
                    withdrawn(100, account),
                    credited(5_000, account),
                    withdrawn(9_000, account, version=2),
                ]
                for account in ("a", "b", "c")
            }
            feed = HostileFeed(seed, histories, source=events.SOURCE, gaps=seed % 2 == 0)
            client = tables()
            handler = app.create_handler(configuration, feed.wrap(client), concurrency=1)
            feed.run(lambda event, handler=handler: handler(event, None), lambda client=client: recorded_gaps(client))

            expected = sorted(
                it for history in feed.expected.values() for it in expected_notifications(history, 10_000)
            )
            self.assertEqual(notifications(client), expected, f"seed {seed}")
            total += len(expected)
            undecodable = {item["StreamId"]["S"]: item["Data"]["B"] for item in client.items("undecodable")}
            self.assertEqual(undecodable, feed.undecodable, f"seed {seed}")
            positions = {item["Subject"]["S"]: int(item["Sequence"]["N"]) for item in client.items("positions")}
            self.assertEqual(positions, feed.positions, f"seed {seed}")
        self.assertGreater(total, 300)


class Start(unittest.TestCase):
    def test_all_missing_variables_are_named_at_the_start(self):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", "import app"], cwd=SERVICE, env=environment, capture_output=True, text=True
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(
            "missing environment variables: POSITIONS_TABLE, NOTIFICATIONS_TABLE, UNDECODABLE_TABLE", done.stderr
        )

    def test_an_invalid_threshold_is_named(self):
        for value in ("-1", "0", "ten", "1.5", "\u0661", "1" * 17):
            with self.subTest(value), self.assertRaisesRegex(app.Misconfigured, "LOW_BALANCE"):
                app.Configuration.from_environment({**ENVIRONMENT, "LOW_BALANCE": value})

    def test_the_handler_is_created_at_the_start(self):
        self.assertTrue(callable(app.handler))


class GeneratedEvents(unittest.TestCase):
    def test_the_generated_module_is_the_one_for_the_contract(self):
        self.assertEqual(generate.generate(SCHEMAS), (SERVICE / "events.py").read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
