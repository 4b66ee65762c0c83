import type { UserRecord } from './batch.ts';

/** What a consumer has applied of one aggregate. */
export interface Position {
  /** The sequence of the last applied event, 0 if there is none. At most 2^53-1. */
  readonly sequence: number;
  /** The consumer's state of the aggregate as JSON; absent if it has none. */
  readonly state?: string;
  /** The gap after the position; absent if there is none. */
  readonly gap?: PositionGap;
}

/** Events of an aggregate that haven't arrived, although later ones have. */
export interface PositionGap {
  /** The first missing sequence: one more than the position. */
  readonly missing: number;
  /** The highest sequence that was skipped after a gap. The gap is removed when the position reaches it. */
  readonly seenThrough: number;
  /** When the gap was found first (RFC 3339). It stays while any gap stays. Absent if another program removed it. */
  readonly since?: string;
}

/** The result of {@link Positions.save}. */
export type SaveResult =
  /** The position and the writes were saved. */
  | 'saved'
  /**
   * Nothing was saved, and a further attempt may succeed: the position isn't the one that was read, because another
   * invocation has changed it or is changing it; or the store throttled the transaction.
   */
  | 'moved';

/**
 * Where a consumer stores its positions.
 *
 * @typeParam Write - A write that a handler returns and {@link Positions.save} executes.
 */
export interface Positions<Write> {
  /** The most writes of one {@link Positions.save}. */
  readonly maxWrites: number;

  /**
   * Reads an aggregate's position, consistently. An aggregate without a position has the sequence 0.
   *
   * A rejection makes the aggregate incomplete, so Lambda delivers its records again.
   */
  read(subject: string): Promise<Position>;

  /**
   * Saves the position `after` and the writes in one transaction, if the stored position still is `before`.
   *
   * After a rejection it is unknown whether they were saved. If they were several events, the consumer reads the
   * position again, and saves each event alone. Otherwise the aggregate is incomplete from the event on, and a gap of
   * events that were skipped before it is saved without writes.
   */
  save(subject: string, before: Position, after: Position, writes: readonly Write[]): Promise<SaveResult>;
}

/** A record that can't be decoded. */
export interface UndecodableRecord extends Omit<UserRecord, 'bytes'> {
  readonly bytes: Uint8Array;
  /** Why. It contains no values of the record, so it may be logged. */
  readonly reason: string;
}

/** The position of an aggregate of which nothing was applied. */
export const START: Position = { sequence: 0 };

/** The most writes of one save of {@link MemoryPositions}: as many as DynamoDB's. */
const MAX_WRITES = 99;

/** Positions in memory, and the writes that were saved with them. For tests. */
export class MemoryPositions<Write = unknown> implements Positions<Write> {
  readonly maxWrites = MAX_WRITES;
  readonly #positions = new Map<string, Position>();
  readonly #writes: Write[] = [];

  /** All saved writes: the ones of each aggregate in the order of its events. */
  get writes(): readonly Write[] {
    return this.#writes;
  }

  /** The position of each aggregate that has one. */
  get positions(): ReadonlyMap<string, Position> {
    return this.#positions;
  }

  async read(subject: string): Promise<Position> {
    return this.#positions.get(subject) ?? START;
  }

  async save(subject: string, before: Position, after: Position, writes: readonly Write[]): Promise<SaveResult> {
    const stored = this.#positions.get(subject) ?? START;
    if (stored.sequence !== before.sequence || stored.gap?.seenThrough !== before.gap?.seenThrough) return 'moved';
    this.#positions.set(subject, after);
    this.#writes.push(...writes);
    return 'saved';
  }

  /** The gap of each aggregate that has one, for `recordedGaps` of the hostile feed. */
  get gaps(): ReadonlyMap<string, PositionGap> {
    return new Map([...this.#positions].flatMap(([subject, { gap }]) => (gap ? [[subject, gap]] : [])));
  }

  /** Sets a position, for the beginning of a test. */
  set(subject: string, position: Position): void {
    this.#positions.set(subject, position);
  }
}
