"""What the tests share: the cases, and the events that they are made of."""

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
sys.path.insert(0, str(PACKAGE / "src"))

from millrace_consumer import members  # noqa: E402
from millrace_consumer.testing import cloud_event  # noqa: E402

CASES = json.loads((ROOT / "consumers" / "cases.json").read_text(encoding="utf-8"))
SOURCE = CASES["source"]


@dataclass(frozen=True)
class AccountCreated:
    currency: str

    @classmethod
    def from_data(cls, data):
        return cls(members.required(data, "currency", members.string()))


@dataclass(frozen=True)
class Moved:
    amount: int
    currency: str

    @classmethod
    def from_data(cls, data):
        return cls(
            members.required(data, "amount", members.integer()), members.required(data, "currency", members.string())
        )


class BalanceCredited(Moved):
    pass


class BalanceWithdrawn(Moved):
    pass


TYPES = {
    ("AccountCreated", 1): AccountCreated,
    ("BalanceCredited", 1): BalanceCredited,
    ("BalanceWithdrawn", 1): BalanceWithdrawn,
}


def event_bytes(event_id, type_name=None, version=1, data=None):
    """The bytes of an event such as `a:4`."""
    subject, sequence = event_id.rsplit(":", 1)
    sequence = int(sequence)
    if type_name is None:
        type_name = "AccountCreated" if sequence == 1 else "BalanceCredited"
        data = {"currency": "EUR"} if sequence == 1 else {"amount": sequence, "currency": "EUR"}
    return cloud_event(
        source=SOURCE,
        type_name=type_name,
        version=version,
        subject=subject,
        sequence=sequence,
        data={"accountId": subject, **data},
    )


def case_bytes(record):
    """The bytes of a record of a case; `None` for a record without data."""
    [(kind, value)] = record.items()
    if kind == "event":
        return event_bytes(value)
    if kind == "unknownType":
        return event_bytes(value, "InterestPaid", 1, {"interest": 1})
    if kind == "unknownVersion":
        return event_bytes(value, "BalanceCredited", 2, {"cents": 1})
    if kind == "undecodable":
        return value.encode("utf-8")
    if kind == "unusable":
        return None
    raise ValueError(kind)


def batch(*datas):
    """Lambda's event with these records. The record at position p has the sequence number 100 + p."""
    records = []
    for position, data in enumerate(datas):
        kinesis = {"sequenceNumber": str(100 + position), "partitionKey": "key"}
        if data is not None:
            kinesis["data"] = base64.b64encode(data).decode("ascii")
        records.append(
            {"eventID": f"shard:{100 + position}", "eventSource": "aws:kinesis", "kinesis": kinesis},
        )
    return {"Records": records}
