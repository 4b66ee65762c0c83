import type { Event } from '../event.ts';
import type { Random } from './random.ts';

/** An event of a history. The feed sets its sequence, because it adds events of an unknown type. */
export type HistoryEvent<E extends Event = Event> =
  E extends Event<infer Data, infer Type, infer Version>
    ? {
        readonly type: Type;
        readonly version: Version;
        /** The members of `data` without `sequence`. */
        readonly data: unknown extends Data ? object : Omit<Data, 'sequence'>;
        /** RFC 3339. @defaultValue a time that depends on the sequence */
        readonly time?: string;
      }
    : never;

/** A record of the stream. */
export interface StreamRecord {
  readonly sequenceNumber: string;
  readonly partitionKey: string;
  readonly bytes: Uint8Array;
}

/** The records in their order, and what a consumer has to do with them. */
export interface Stream {
  readonly records: readonly StreamRecord[];
  /** The events that the consumer applies, per aggregate in their order. */
  readonly expected: ReadonlyMap<string, readonly Event[]>;
  /** The last sequence of each aggregate, including events of an unknown type. */
  readonly positions: ReadonlyMap<string, number>;
  /** The distinct undecodable records. */
  readonly undecodable: readonly Uint8Array[];
  /** How many records there are before histories are sent again. */
  readonly beforeReplay: number;
  /** The gap of each aggregate that has one after these records, for a consumer that has completed them. */
  readonly gaps: ReadonlyMap<string, RecordedGap>;
}

/** A gap as a consumer records it. `PositionGap` has this form. */
export interface RecordedGap {
  /** The first missing sequence: one more than the position. */
  readonly missing: number;
  /** The highest sequence that was skipped. */
  readonly seenThrough: number;
}

export interface StreamOptions {
  readonly source: string;
  readonly histories: Readonly<Record<string, readonly HistoryEvent[]>>;
  readonly gaps: boolean;
}

/** The type of the events that no consumer knows. */
const UNKNOWN_TYPE = 'UnknownTypeOfTheHostileFeed';
const UNKNOWN_TYPE_CHANCE = 0.1;
const UNDECODABLE_CHANCE = 0.06;
const DUPLICATE_CHANCE = 0.12;
const REPUBLISH_CHANCE = 0.05;
/** Of an aggregate, with gaps. */
const GAP_CHANCE = 0.75;
/** The most events in a row that are missing. */
const MAX_MISSING = 4;
/** That some of the missing events arrive late, and not only by a replay. */
const LATE_CHANCE = 0.7;
/** That the highest event that is skipped, and what follows it, are among the last records before the replay. */
const LAST_CHANCE = 0.5;
/** That an event after the gap is missing too. */
const MISSING_CHANCE = 0.15;
/** The records after the last first occurrence, at most, without the ones of republished histories. */
const MAX_TRAILING = 6;
/** Kinesis' sequence numbers have about this form. */
const FIRST_SEQUENCE_NUMBER = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898n;

/** An event as the stream contains it. */
interface Published {
  readonly subject: string;
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** Chooses the records of a stream: histories that are interleaved, with duplicates and undecodable records. */
export function makeStream(options: StreamOptions, random: Random): Stream {
  const expected = new Map<string, Event[]>();
  const histories = new Map<string, Published[]>();
  for (const [subject, history] of Object.entries(options.histories)) {
    const { published, known } = publish(subject, history, options.source, random);
    histories.set(subject, published);
    expected.set(subject, known);
  }
  const nonEmpty = [...histories].filter(([, history]) => history.length > 0);
  const positions = new Map(nonEmpty.map(([subject, history]) => [subject, history.length]));

  const records: StreamRecord[] = [];
  const undecodable: Uint8Array[] = [];
  const append = (partitionKey: string, bytes: Uint8Array): void => {
    const sequenceNumber = String(FIRST_SEQUENCE_NUMBER + BigInt(records.length));
    records.push({ sequenceNumber, partitionKey, bytes });
  };

  const gaps = new Map<string, RecordedGap>();
  const incomplete = new Set<string>();
  /** The last records before the replay, which no other record makes up for. */
  const last: Published[] = [];
  const present = [...histories].map(([subject, history]) => {
    if (!options.gaps || history.length === 0 || !random.chance(GAP_CHANCE)) return history;
    incomplete.add(subject);
    const { order, missing } = withoutSome(history, random);
    const seenThrough = Math.max(0, ...order.map(({ sequence }) => sequence));
    if (seenThrough > missing) gaps.set(subject, { missing, seenThrough });
    if (!random.chance(LAST_CHANCE)) return order;
    last.push(...order.splice(order.findIndex(({ sequence }) => sequence === seenThrough)));
    return order;
  });
  const occurred: Published[][] = present.map(() => []);
  /** Ends of histories that are being published again. */
  const republished: Published[][] = [];

  // Bounded, because each of them adds many records.
  let republications = random.integer(0, histories.size + 1);
  let trailing = random.integer(0, MAX_TRAILING);
  for (;;) {
    const open = present.flatMap((history, index) => (history.length > (occurred[index]?.length ?? 0) ? [index] : []));
    const again = occurred.filter((history) => history.length > 0);
    const sources = republished.filter((history) => history.length > 0);
    if (open.length === 0 && sources.length === 0) {
      if (trailing === 0) break;
      trailing -= 1;
    }
    if (random.chance(UNDECODABLE_CHANCE)) {
      const bytes = undecodableBytes(undecodable.length, random.pick([...histories.values()].flat()), random);
      undecodable.push(bytes);
      append(`undecodable-${undecodable.length}`, bytes);
    } else if (again.length > 0 && random.chance(DUPLICATE_CHANCE)) {
      const event = random.pick(random.pick(again));
      append(event.subject, event.bytes);
    } else if (again.length > 0 && republications > 0 && random.chance(REPUBLISH_CHANCE)) {
      republications -= 1;
      const history = random.pick(again);
      republished.push(history.slice(random.integer(0, history.length - 1)));
    } else if (sources.length > 0 && (open.length === 0 || random.chance(0.5))) {
      const event = random.pick(sources).shift();
      if (event) append(event.subject, event.bytes);
    } else if (open.length > 0) {
      const index = random.pick(open);
      const event = present[index]?.[occurred[index]?.length ?? 0];
      if (event) {
        occurred[index]?.push(event);
        append(event.subject, event.bytes);
      }
    }
  }

  for (const event of last) append(event.subject, event.bytes);
  const beforeReplay = records.length;
  // What `millrace replay` sends: whole histories in their order.
  const replayed = [...histories].filter(([subject]) => incomplete.has(subject)).map(([, history]) => [...history]);
  for (;;) {
    const open = replayed.filter((history) => history.length > 0);
    if (open.length === 0) break;
    const event = random.pick(open).shift();
    if (event) append(event.subject, event.bytes);
  }
  return { records, expected, positions, undecodable, beforeReplay, gaps };
}

/**
 * Leaves out some events in a row, and perhaps later ones. The first of these in a row may arrive after the events that
 * follow them, as after a replay that was stopped. So the position stays before `missing`, whatever is delivered again.
 *
 * @returns The other events in the order in which they arrive, and the first sequence that doesn't.
 */
function withoutSome(history: readonly Published[], random: Random): { order: Published[]; missing: number } {
  const first = random.integer(0, history.length - 1);
  const count = Math.min(random.integer(1, MAX_MISSING), history.length - first);
  const late = count > 1 && random.chance(LATE_CHANCE) ? random.integer(1, count - 1) : 0;
  const rest = history.slice(first + count).filter(() => !random.chance(MISSING_CHANCE));
  const order = [...history.slice(0, first), ...rest];
  let place = first;
  for (const event of history.slice(first, first + late)) {
    // Often at the end: an event that is skipped later would have the same effect as the ones that were skipped before.
    place = random.chance(0.5) ? order.length : random.integer(place, order.length);
    order.splice(place, 0, event);
    place += 1;
  }
  return { order, missing: first + late + 1 };
}

/** Adds events of an unknown type to a history, and sets the sequences. */
function publish(
  subject: string,
  history: readonly HistoryEvent[],
  source: string,
  random: Random,
): { published: Published[]; known: Event[] } {
  const published: Published[] = [];
  const known: Event[] = [];
  const append = ({ type, version, data, time }: HistoryEvent): Event => {
    const sequence = published.length + 1;
    const event: Event = {
      id: `${subject}:${sequence}`,
      type,
      version,
      subject,
      sequence,
      time: time ?? new Date(Date.UTC(2026, 10, 20) + sequence * 1000).toISOString(),
      data: { ...data, sequence },
    };
    published.push({ subject, sequence, bytes: toBytes(event, source) });
    return event;
  };
  for (const event of history) {
    while (random.chance(UNKNOWN_TYPE_CHANCE)) append({ type: UNKNOWN_TYPE, version: 1, data: { unknown: true } });
    known.push(append(event));
  }
  if (random.chance(UNKNOWN_TYPE_CHANCE)) append({ type: UNKNOWN_TYPE, version: 1, data: { unknown: true } });
  return { published, known };
}

function toBytes({ id, type, version, subject, time, data }: Event, source: string): Uint8Array {
  const dataschema = `urn:millrace:schema:${type}:${version}`;
  const datacontenttype = 'application/json';
  return utf8({ specversion: '1.0', id, source, type, subject, time, datacontenttype, dataschema, data });
}

function utf8(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Bytes that no other record has, and that are no event, or none of this domain. */
function undecodableBytes(number: number, event: Published | undefined, random: Random): Uint8Array {
  const bytes = event?.bytes ?? utf8({});
  const envelope = JSON.parse(new TextDecoder().decode(bytes));
  // The first event of an aggregate that doesn't exist: a handler that accepts it applies it.
  const subject = `undecodable-${number}`;
  const first = { ...envelope, subject, id: `${subject}:1`, data: { ...envelope.data, sequence: 1 } };
  return random.pick([
    () => new TextEncoder().encode(`undecodable record ${number}`),
    () => new Uint8Array([0xff, 0xfe, ...new TextEncoder().encode(String(number))]),
    () => new TextEncoder().encode(`${' '.repeat(number)}[]`),
    () => bytes.slice(0, Math.max(1, bytes.length - 1 - number)),
    () => utf8({ ...first, source: 'urn:millrace:another-domain' }),
    () => utf8({ ...first, id: `${subject}:2` }),
    () => utf8({ ...first, id: `${subject}:0`, data: { ...envelope.data, sequence: 0 } }),
  ])();
}
