import { characters, UNPAIRED } from './characters.ts';
import type { EventOf, EventTypes, UnknownEvent } from './event.ts';
import { DecodeError } from './read.ts';

/** What a consumer expects and knows. */
export interface Expectation<Types extends EventTypes> {
  /** The `source` of all events of the domain, such as `urn:millrace:accounts`. */
  readonly source: string;
  /** The types and versions that the consumer knows. */
  readonly types: Types;
}

/** The result of decoding one record. */
export type Decoded<Types extends EventTypes = EventTypes> =
  /** An event of a known type and version. */
  | { readonly kind: 'event'; readonly event: EventOf<Types> }
  /** An event of an unknown type or version. */
  | { readonly kind: 'unknown'; readonly event: UnknownEvent }
  /** No event. The reason contains no values of the record, so it may be logged. */
  | { readonly kind: 'undecodable'; readonly reason: string; readonly bytes: Uint8Array };

/** The most characters of a subject. */
const MAX_SUBJECT = 256;
const SCHEMA_PREFIX = 'urn:millrace:schema:';

// `fatal` refuses bytes that aren't UTF-8 instead of replacing them. `ignoreBOM` keeps a byte order mark, which isn't
// JSON.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Decodes the bytes of a record. It never throws on the content of a record: what can't be decoded is a value.
 *
 * Decoding the same bytes again has the same result, so a retry is useless.
 */
export function decode<const Types extends EventTypes>(
  bytes: Uint8Array,
  expectation: Expectation<Types>,
): Decoded<Types> {
  try {
    return read(bytes, expectation);
  } catch (error) {
    // Only the message of a DecodeError is known to contain no values of the record.
    const reason =
      error instanceof DecodeError ? error.message : `data can't be read: the reader threw ${nameOf(error)}`;
    return { kind: 'undecodable', reason, bytes };
  }
}

function read<Types extends EventTypes>(bytes: Uint8Array, { source, types }: Expectation<Types>): Decoded<Types> {
  const record = parse(bytes);
  if (text(record, 'specversion') !== '1.0') throw new DecodeError('specversion', 'is not 1.0');
  if (text(record, 'source') !== source) throw new DecodeError('source', 'is not the expected one');
  text(record, 'datacontenttype');
  const id = text(record, 'id');
  const type = text(record, 'type');
  const subject = text(record, 'subject');
  // The first comparison avoids that the characters of a long string are counted.
  if (subject === '' || subject.length > 2 * MAX_SUBJECT || characters(subject) > MAX_SUBJECT) {
    throw new DecodeError('subject', `has less than 1 or more than ${MAX_SUBJECT} characters`);
  }
  if (/\p{Control}/u.test(subject)) throw new DecodeError('subject', 'contains a control character');
  const time = text(record, 'time');
  if (!isTime(time)) throw new DecodeError('time', 'is not a time in RFC 3339');
  const version = readVersion(text(record, 'dataschema'), type);

  const data = member(record, 'data');
  if (!isObject(data)) throw new DecodeError('data', 'is not an object');
  const sequence = Object.hasOwn(data, 'sequence') ? data.sequence : undefined;
  if (!Number.isSafeInteger(sequence) || (sequence as number) < 1) {
    throw new DecodeError('data.sequence', 'is not an integer from 1 to 2^53-1');
  }
  if (id !== `${subject}:${sequence}`) throw new DecodeError('id', 'is not <subject>:<data.sequence>');

  const envelope = {
    id,
    type,
    version,
    subject,
    sequence: sequence as number,
    time,
    ...optionalText('correlationId', record, 'correlationid'),
    ...optionalText('causationId', record, 'causationid'),
    ...traceParent(member(record, 'traceparent')),
  };
  const name = `${type}:${version}` as const;
  const reader = Object.hasOwn(types, name) ? types[name] : undefined;
  if (!reader) {
    const isKnownType = Object.keys(types).some((known) => known.slice(0, known.lastIndexOf(':')) === type);
    return { kind: 'unknown', event: { ...envelope, isKnownType } };
  }
  // The name of the reader is the type and the version, so the event is one of the union.
  return { kind: 'event', event: { ...envelope, data: reader(data, 'data') } as unknown as EventOf<Types> };
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(bytes));
  } catch (error) {
    // The message of a SyntaxError contains a part of the record.
    throw new DecodeError('the record', error instanceof SyntaxError ? 'is not JSON' : 'is not UTF-8');
  }
  if (!isObject(value)) throw new DecodeError('the record', 'is not a JSON object');
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function member(record: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

function text(record: Record<string, unknown>, name: string): string {
  const value = member(record, name);
  if (value === undefined) throw new DecodeError(name, 'is missing');
  if (typeof value !== 'string') throw new DecodeError(name, 'is not a string');
  if (!value.isWellFormed()) throw new DecodeError(name, UNPAIRED);
  return value;
}

/** A text that may be absent, which is the same as `null`. */
function optionalText<Name extends string>(
  property: Name,
  record: Record<string, unknown>,
  name: string,
): { [Member in Name]?: string } {
  const value = member(record, name) ?? undefined;
  return (value === undefined ? {} : { [property]: text(record, name) }) as { [Member in Name]?: string };
}

/** A malformed one is absent. */
function traceParent(value: unknown): { traceParent?: string } {
  return typeof value === 'string' && value.isWellFormed() && isTraceParent(value) ? { traceParent: value } : {};
}

function readVersion(schema: string, type: string): number {
  const prefix = `${SCHEMA_PREFIX}${type}:`;
  const digits = schema.startsWith(prefix) ? schema.slice(prefix.length) : '';
  const version = Number(digits);
  if (!/^[1-9][0-9]*$/.test(digits) || !Number.isSafeInteger(version)) {
    throw new DecodeError('dataschema', `is not ${SCHEMA_PREFIX}<type>:<version>`);
  }
  return version;
}

const TIME = /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.\d+)?(?:[Zz]|[+-](\d{2}):(\d{2}))$/;

/** The first and the last millisecond that Rust, Python and JavaScript all represent. */
const FIRST_TIME = Date.parse('0001-01-01T00:00:00.000Z');
const LAST_TIME = Date.parse('9999-12-31T23:59:59.999Z');

/** Whether this is a `date-time` of RFC 3339 in the years 1 to 9999 of UTC, and no leap second: `Date` has none. */
function isTime(value: string): boolean {
  const numbers = TIME.exec(value)
    ?.slice(1)
    .map((digits) => Number(digits ?? '0'));
  if (!numbers) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, offsetHour = 0, offsetMinute = 0] = numbers;
  const days = [31, isLeapYear(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
  if (days === undefined || day < 1 || day > days) return false;
  if (hour > 23 || minute > 59 || second > 59 || offsetHour > 23 || offsetMinute > 59) return false;
  // The offset may move the time into another year.
  const time = Date.parse(value.toUpperCase());
  return time >= FIRST_TIME && time <= LAST_TIME;
}

function isLeapYear(year: number): boolean {
  return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
}

const TRACE_PARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/s;

/** Whether this is a `traceparent`: https://www.w3.org/TR/trace-context/#traceparent-header-field-values */
function isTraceParent(value: string): boolean {
  const [, version, rest] = TRACE_PARENT.exec(value) ?? [];
  return version !== undefined && (version !== '00' || rest === undefined);
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : typeof error;
}
