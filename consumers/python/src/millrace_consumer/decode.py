"""Decoding: from a record's bytes to an event, an unknown event, or the reason why it is neither."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar

from .event import Decoded, Event, EventData, Undecodable, Unknown, parse_time

T = TypeVar("T", bound=EventData)

MAX_SEQUENCE = 2**53 - 1
"""The greatest sequence of an event: the greatest integer that every reader of JSON represents exactly."""

_MAX_SUBJECT = 256
_SCHEMA_PREFIX = "urn:millrace:schema:"
_VERSION = re.compile(r"[1-9][0-9]*")
# W3C Trace Context: version ff is invalid, and a version above 00 may add fields at the end.
# https://www.w3.org/TR/trace-context/#versioning-of-traceparent
_TRACE_PARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-[ -~]*)?"
)
# Python limits the digits of an integer that it converts (sys.set_int_max_str_digits). A version with more digits
# than this one isn't a version of anything.
_MAX_VERSION_DIGITS = 16


class _Reason(Exception):
    """Why a record is undecodable."""


def decode(data: bytes, *, source: str, types: Mapping[tuple[str, int], type[T]]) -> Decoded[T]:
    """Decode a record: a CloudEvents 1.0 JSON object.

    `source` is the only accepted `source` of the events. `types` contains the class of each known type and version;
    the class's `from_data` gets the member `data`. The function never raises because of the record's content:
    a record that is no valid event is `Undecodable`, also if `from_data` fails.
    """
    try:
        return _decode(data, source, types)
    except _Reason as reason:
        return Undecodable(str(reason), data)


def _decode(data: bytes, source: str, types: Mapping[tuple[str, int], type[T]]) -> Decoded[T]:
    document = _parse(data)
    if not isinstance(document, dict):
        raise _Reason("the record is not a JSON object")
    if _string(document, "specversion") != "1.0":
        raise _Reason("specversion is not 1.0")
    if _string(document, "source") != source:
        raise _Reason("source is not the expected one")
    event_id = _string(document, "id")
    type_name = _string(document, "type")
    subject = _string(document, "subject")
    time = _string(document, "time")
    _string(document, "datacontenttype")
    version = _version(_string(document, "dataschema"), type_name)
    if not 1 <= len(subject) <= _MAX_SUBJECT:
        raise _Reason(f"subject does not have 1 to {_MAX_SUBJECT} characters")
    if any(unicodedata.category(character) == "Cc" for character in subject):
        raise _Reason("subject contains a control character")
    if parse_time(time) is None:
        raise _Reason("time is not a time in RFC 3339")
    members = document.get("data")
    if not isinstance(members, dict):
        raise _Reason("data is missing" if members is None else "data is not an object")
    sequence = members.get("sequence")
    # A bool is an int in Python.
    if type(sequence) is not int or not 1 <= sequence <= MAX_SEQUENCE:
        raise _Reason("data.sequence is not an integer from 1 to 2^53-1")
    if event_id != f"{subject}:{sequence}":
        raise _Reason("id is not <subject>:<data.sequence>")
    correlation_id = _optional_string(document, "correlationid")
    causation_id = _optional_string(document, "causationid")

    data_type = types.get((type_name, version))
    if data_type is None:
        is_known_type = any(known == type_name for known, _ in types)
        return Unknown(event_id, type_name, version, subject, sequence, is_known_type)
    try:
        typed: T = data_type.from_data(members)
    except ValueError as error:
        raise _Reason(f"data: {error}") from error
    except Exception as error:
        # The message of another error may contain values.
        raise _Reason(f"data can't be read: {type(error).__name__}") from error
    return Event(
        id=event_id,
        type=type_name,
        version=version,
        subject=subject,
        sequence=sequence,
        time=time,
        correlation_id=correlation_id,
        causation_id=causation_id,
        trace_parent=_trace_parent(document.get("traceparent")),
        data=typed,
    )


def _parse(data: bytes) -> object:
    try:
        # json.loads guesses the encoding of bytes, and would also accept UTF-16.
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _Reason("the record is not UTF-8") from None
    try:
        document: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _Reason("the record is not JSON") from None
    if "\\u" in text and not _is_unicode(document):
        raise _Reason("the record contains an unpaired surrogate")
    return document


def _refuse_constant(_: str) -> None:
    # Python reads NaN and Infinity, which JSON doesn't have.
    raise ValueError("not JSON")


def _is_unicode(document: object) -> bool:
    """Whether no string has an unpaired surrogate, which JSON can escape, and which UTF-8 can't contain."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _string(document: Mapping[str, Any], member: str) -> str:
    value = document.get(member)
    if isinstance(value, str):
        return value
    raise _Reason(f"{member} is not a string" if member in document else f"{member} is missing")


def _optional_string(document: Mapping[str, Any], member: str) -> str | None:
    value = document.get(member)
    if value is None or isinstance(value, str):
        return value
    raise _Reason(f"{member} is not a string")


def _trace_parent(value: object) -> str | None:
    match = _TRACE_PARENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match["version"] == "00" and match["more"] is not None):
        return None
    return match.string


def _version(schema: str, type_name: str) -> int:
    prefix = f"{_SCHEMA_PREFIX}{type_name}:"
    digits = schema[len(prefix) :]
    if not schema.startswith(prefix) or not _VERSION.fullmatch(digits) or len(digits) > _MAX_VERSION_DIGITS:
        raise _Reason(f"dataschema is not {_SCHEMA_PREFIX}<type>:<version>")
    return int(digits)
