"""Notifies of low balances: writes a notification when a withdrawal brings an account's balance below a threshold."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from millrace_consumer import (
    DEFAULT_CONCURRENCY,
    BatchResponse,
    Change,
    Consumer,
    DynamoDBPositions,
    Event,
    UndecodableRecord,
)

import events

LOW_BALANCE_DEFAULT = 10_000

# An item of DynamoDB has at most 400 KB, and a record of the stream may be longer. Without the limit, such a record
# could never be stored, and Lambda would deliver it again until it expires, while its shard waits.
MAX_STORED_BYTES = 300_000


class Account(TypedDict):
    """The state of an account: stored as JSON with its position."""

    balance: int
    """In minor units of the currency."""
    currency: str
    """An ISO 4217 code."""


class Misconfigured(Exception):
    """An environment variable is missing or invalid. The function doesn't start."""


@dataclass(frozen=True)
class Configuration:
    """The environment variables of the function."""

    positions_table: str
    notifications_table: str
    undecodable_table: str
    low_balance: int
    """The threshold in minor units of the account's currency."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Configuration:
        """Read the environment. Raise `Misconfigured` with the names of all variables that are missing."""
        names = ("POSITIONS_TABLE", "NOTIFICATIONS_TABLE", "UNDECODABLE_TABLE")
        missing = [name for name in names if not environment.get(name)]
        if missing:
            raise Misconfigured(f"missing environment variables: {', '.join(missing)}")
        low_balance = environment.get("LOW_BALANCE") or str(LOW_BALANCE_DEFAULT)
        if not low_balance.isascii() or not low_balance.isdigit() or len(low_balance) > 16 or not int(low_balance):
            raise Misconfigured("LOW_BALANCE is not an integer from 1 on, in minor units")
        positions, notifications, undecodable = (environment[name] for name in names)
        return cls(positions, notifications, undecodable, int(low_balance))


class Notifier:
    """Applies the events of accounts."""

    def __init__(self, configuration: Configuration) -> None:
        self._table = configuration.notifications_table
        self._threshold = configuration.low_balance

    def apply(self, event: Event[events.AnyData], account: Account | None) -> Change[Account, dict[str, Any]]:
        """Return the account's new state, and a notification if the event makes the balance low.

        The consumer saves both in one transaction with the position, so there is exactly one notification.
        """
        data = event.data
        before = account["balance"] if account else 0
        if isinstance(data, events.AccountCreated):
            return Change({"balance": 0, "currency": data.currency})
        if isinstance(data, events.BalanceCredited):
            return Change({"balance": before + data.amount, "currency": data.currency})
        after = before - data.amount
        is_low = after < self._threshold <= before
        writes = [self._notification(event, after, data.currency)] if is_low else []
        return Change({"balance": after, "currency": data.currency}, writes)

    def _notification(self, event: Event[events.AnyData], balance: int, currency: str) -> dict[str, Any]:
        item = {
            "Account": {"S": event.subject},
            "Sequence": {"N": str(event.sequence)},
            "Balance": {"N": str(balance)},
            "Currency": {"S": currency},
            "Threshold": {"N": str(self._threshold)},
        }
        return {"Put": {"TableName": self._table, "Item": item}}


def store_undecodable(client: Any, table: str, record: UndecodableRecord) -> None:
    """Store the first bytes of a record that isn't an event, and its length. The same record replaces itself."""
    item = {
        "StreamId": {"S": record.event_id},
        "Reason": {"S": record.reason},
        "Data": {"B": record.data[:MAX_STORED_BYTES]},
        "Length": {"N": str(len(record.data))},
    }
    client.put_item(TableName=table, Item=item)


def create_handler(
    configuration: Configuration, client: Any, concurrency: int = DEFAULT_CONCURRENCY
) -> Callable[[Mapping[str, Any], object], BatchResponse]:
    """Create the handler of the Lambda function. `client` is a low-level client of DynamoDB.

    `concurrency` accounts are processed at the same time. With 1, a test under the hostile feed can be repeated.
    """
    consumer = Consumer(
        source=events.SOURCE,
        types=events.TYPES,
        handler=Notifier(configuration).apply,
        positions=DynamoDBPositions(client, configuration.positions_table),
        on_undecodable=lambda record: store_undecodable(client, configuration.undecodable_table, record),
        concurrency=concurrency,
    )
    return lambda event, context: consumer.process(event)


def _start() -> Callable[[Mapping[str, Any], object], BatchResponse]:
    logging.getLogger().setLevel(logging.INFO)
    configuration = Configuration.from_environment(os.environ)
    # Imported after the configuration was checked: it takes most of the start.
    import boto3

    return create_handler(configuration, boto3.client("dynamodb"))


handler = _start()
