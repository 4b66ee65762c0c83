import { type BatchResponse, type KinesisEvent, readBatch, respond, type UserRecord } from './batch.ts';
import { decode } from './decode.ts';
import type { EventOf, EventTypes, UnknownEvent } from './event.ts';
import { check } from './gate.ts';
import { errorFields, type LogFields, type Logger, stdoutLogger } from './logger.ts';
import { pauseBefore } from './pause.ts';
import type { Position, PositionGap, Positions, SaveResult, UndecodableRecord } from './positions.ts';
import { InvalidChange, stateText } from './state.ts';

/** What an event changes. */
export interface Change<State, Write> {
  /**
   * The consumer's new state of the aggregate; `undefined` or `null` if it has none. It is stored as JSON, so it
   * consists of plain objects, lists, strings, finite numbers, booleans and `null`. With another value in it, the event
   * fails. Members that are `undefined` are left out.
   */
  readonly state: State;
  /** The writes that belong to the event. They are saved in the same transaction as the position. */
  readonly writes?: readonly Write[];
}

/**
 * Applies one event.
 *
 * It is called again with the same event and state after a crash, or if another invocation has changed the position. So
 * it must not have any effects of its own: each effect is one of the returned writes. An error makes the aggregate
 * incomplete from this event on, and Lambda delivers the event again.
 *
 * @param state - What the handler returned for the event before, from JSON; `undefined` before the first one.
 */
export type Handler<Types extends EventTypes, State, Write> = (
  event: EventOf<Types>,
  state: State | undefined,
) => Change<State, Write> | Promise<Change<State, Write>>;

/** What a consumer consists of. */
export interface ConsumerOptions<Types extends EventTypes, State, Write> {
  /** The `source` of the domain's events, such as `urn:millrace:accounts`. Other records are undecodable. */
  readonly source: string;
  /**
   * The types that the handler applies, with all versions of each. An event of another type counts as applied. An event
   * of another version of one of these types is skipped, and everything of the aggregate after it.
   */
  readonly types: Types;
  /** Applies an event. */
  readonly handler: Handler<Types, State, Write>;
  /** Where the positions are stored. */
  readonly positions: Positions<Write>;
  /**
   * Stores an undecodable record. It may get the same record more than once. If it fails, Lambda delivers the record
   * again; otherwise the record is completed.
   */
  readonly onUndecodable: (record: UndecodableRecord) => void | Promise<void>;
  /** @defaultValue {@link stdoutLogger} */
  readonly logger?: Logger;
  /** How many aggregates are processed at the same time, from 1 on. @defaultValue 16 */
  readonly concurrency?: number;
}

/** How often an aggregate is read and saved, if other invocations are faster each time. */
const MAX_ATTEMPTS = 6;
const CONCURRENCY = 16;

/** An event of an aggregate, and its record. */
interface Delivered<Types extends EventTypes> {
  readonly record: UserRecord;
  readonly kind: 'event' | 'unknown';
  readonly event: EventOf<Types> | UnknownEvent;
}

/** What an invocation measured. */
interface Counters {
  applied: number;
  duplicates: number;
  skipped: number;
  unknown: number;
  undecodable: number;
}

/** Events that were applied and not saved yet. */
interface Run<Write> {
  /** The record of the first one. */
  first: UserRecord | undefined;
  /** The highest sequence that was skipped before the first one, 0 if none was. */
  skippedBefore: number;
  /** The position after them. */
  sequence: number;
  state: string | undefined;
  writes: Write[];
  events: number;
}

/** How an attempt ended. */
type Attempt = 'moved' | { readonly incomplete: number | undefined };

/** The handler of an event failed. */
class HandlerFailure {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

/**
 * Consumes domain events: each event of a known type takes effect exactly once, in the order of its aggregate.
 *
 * Create it once, when the Lambda function starts, and call {@link Consumer.process} with each event of Lambda.
 */
export class Consumer<const Types extends EventTypes, State = unknown, Write = unknown> {
  readonly #options: ConsumerOptions<Types, State, Write>;
  readonly #logger: Logger;

  /** @throws RangeError if `concurrency` isn't an integer from 1 on. */
  constructor(options: ConsumerOptions<Types, State, Write>) {
    const { concurrency = CONCURRENCY, logger = stdoutLogger } = options;
    if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
      throw new RangeError('concurrency is not an integer from 1 on');
    }
    this.#options = { ...options, concurrency };
    this.#logger = logger;
  }

  /**
   * Processes one batch. The event source mapping needs `ReportBatchItemFailures`.
   *
   * @returns The first incomplete record, which Lambda delivers again with all later ones; none if all are completed.
   * @throws TypeError if the event isn't a batch of Kinesis records. Nothing else makes it fail.
   */
  async process(event: KinesisEvent): Promise<BatchResponse> {
    const counters: Counters = { applied: 0, duplicates: 0, skipped: 0, unknown: 0, undecodable: 0 };
    const incomplete: number[] = [];
    const aggregates = new Map<string, Delivered<Types>[]>();
    const undecodable: UndecodableRecord[] = [];

    const records = readBatch(event);
    for (const record of records) {
      const { bytes, eventId, position } = record;
      if (bytes === undefined) {
        this.#logger.error('The record has no data in base64; it will be delivered again', { eventId });
        incomplete.push(position);
        continue;
      }
      const decoded = decode(bytes, this.#options);
      if (decoded.kind === 'undecodable') {
        undecodable.push({ position, eventId, bytes, reason: decoded.reason });
        continue;
      }
      const delivered = { record, kind: decoded.kind, event: decoded.event };
      const { subject } = decoded.event;
      const sameAggregate = aggregates.get(subject);
      if (sameAggregate) sameAggregate.push(delivered);
      else aggregates.set(subject, [delivered]);
    }

    const tasks = [
      ...undecodable.map((record) => () => this.#setAside(record, counters)),
      ...[...aggregates].map(
        ([subject, events]) =>
          () =>
            new AggregateBatch(this.#options, this.#logger, counters, subject, events).process(),
      ),
    ];
    await concurrently(tasks, this.#options.concurrency ?? CONCURRENCY, (first) => {
      if (first !== undefined) incomplete.push(first);
    });

    const first = incomplete.length === 0 ? undefined : incomplete.reduce((a, b) => Math.min(a, b));
    this.#logger.info('Processed a batch', {
      records: event.Records.length,
      aggregates: aggregates.size,
      ...counters,
      incomplete: incomplete.length,
    });
    return respond(event, first);
  }

  /** Calls the consumer's function. Returns the record's position if it fails. */
  async #setAside(record: UndecodableRecord, counters: Counters): Promise<number | undefined> {
    const { eventId, reason } = record;
    try {
      await this.#options.onUndecodable(record);
    } catch (error) {
      const message = "The undecodable record couldn't be stored; it will be delivered again";
      this.#logger.error(message, { eventId, reason, ...errorFields(error) });
      return record.position;
    }
    counters.undecodable += 1;
    this.#logger.warn('The record is undecodable and was stored', { eventId, reason });
    return undefined;
  }
}

/** The events of one aggregate in a batch. */
class AggregateBatch<const Types extends EventTypes, State, Write> {
  readonly #options: ConsumerOptions<Types, State, Write>;
  readonly #logger: Logger;
  readonly #counters: Counters;
  readonly #subject: string;
  readonly #events: readonly Delivered<Types>[];
  /** The last known stored sequence. */
  #applied = 0;
  /** Whether each event is saved in a transaction of its own. */
  #isSingle = false;

  constructor(
    options: ConsumerOptions<Types, State, Write>,
    logger: Logger,
    counters: Counters,
    subject: string,
    events: readonly Delivered<Types>[],
  ) {
    this.#options = options;
    this.#logger = logger;
    this.#counters = counters;
    this.#subject = subject;
    this.#events = events;
  }

  /**
   * Applies the events. Never rejects.
   *
   * @returns The position of the aggregate's first incomplete record; `undefined` if all are completed.
   */
  async process(): Promise<number | undefined> {
    for (let attempt = 1; ; ) {
      try {
        const result = await this.#attempt();
        if (result !== 'moved') return result.incomplete;
        if (attempt === MAX_ATTEMPTS) {
          return this.#incomplete('Another invocation moved the position, or saving it was throttled, each time', {});
        }
        await pauseBefore(attempt);
        attempt += 1;
      } catch (error) {
        if (!(error instanceof CombinedSaveError)) {
          return this.#incomplete('Reading or saving the position failed', errorFields(error));
        }
        // Which event it was is unknown: two events may write the same item, which one transaction can't, a write may
        // be refused, or the transaction may be too large. The position is read again, because it may be saved. This is
        // no further attempt, because no other invocation was faster.
        this.#isSingle = true;
        const message = "Several events couldn't be saved in one transaction; each one is saved alone";
        const { eventId, events, cause } = error;
        this.#logger.info(message, { eventId, events, ...errorFields(cause) });
      }
    }
  }

  /** Reads the position, applies the events and saves them. */
  async #attempt(): Promise<Attempt> {
    const { positions } = this.#options;
    let before = await positions.read(this.#subject);
    this.#applied = before.sequence;
    const counted = { duplicates: 0, skipped: 0, unknown: 0, applied: 0 };
    let run: Run<Write> = startRun(before);
    let firstSkipped: Delivered<Types> | undefined;
    let seenThrough = 0;
    let failed: { delivered: Delivered<Types>; error: unknown } | undefined;

    // Returns how the attempt ended, or undefined if it goes on.
    const save = async (): Promise<Attempt | undefined> => {
      const after = positionAfter(before, run, seenThrough);
      if (run.events === 0 && after.gap?.seenThrough === before.gap?.seenThrough) return undefined;
      let result: SaveResult;
      try {
        result = await positions.save(this.#subject, before, after, run.writes);
      } catch (error) {
        // Without an event, only a gap couldn't be saved, so it can't be stored alone either.
        if (!run.first) return this.#incompleteGap(error);
        if (run.events > 1) throw new CombinedSaveError(run.first.eventId, run.events, error);
        return this.#incompleteEvent(before, run.first, run.skippedBefore, error);
      }
      if (result === 'moved') return 'moved';
      this.#applied = after.sequence;
      this.#counters.applied += counted.applied;
      counted.applied = 0;
      before = after;
      run = startRun(after);
      return undefined;
    };

    for (const delivered of this.#events) {
      const { event, kind } = delivered;
      const { result } = check(run.sequence, event.sequence);
      if (result === 'duplicate') {
        counted.duplicates += 1;
        continue;
      }
      if (result === 'gap' || ('isKnownType' in event && event.isKnownType)) {
        counted.skipped += 1;
        firstSkipped ??= delivered;
        seenThrough = Math.max(seenThrough, event.sequence);
        continue;
      }
      let state = run.state;
      let writes: readonly Write[] = [];
      if (kind === 'unknown') {
        counted.unknown += 1;
      } else {
        const change = await this.#apply(event as EventOf<Types>, run.state);
        if (change instanceof HandlerFailure) {
          failed = { delivered, error: change.error };
          break;
        }
        ({ state, writes } = change);
      }
      const isFull = this.#isSingle || run.writes.length + writes.length > positions.maxWrites;
      if (run.events > 0 && isFull) {
        const end = await save();
        if (end) return end;
      }
      if (!run.first) {
        run.first = delivered.record;
        run.skippedBefore = seenThrough;
      }
      run.sequence = event.sequence;
      run.state = state;
      run.writes.push(...writes);
      run.events += 1;
      if (kind === 'event') counted.applied += 1;
    }
    const end = await save();
    if (end) return end;

    this.#counters.duplicates += counted.duplicates;
    this.#counters.skipped += counted.skipped;
    this.#counters.unknown += counted.unknown;
    if (firstSkipped && before.gap) this.#logGap(firstSkipped, counted.skipped);
    if (!failed) return { incomplete: undefined };
    this.#logger.error('The handler failed; the record will be delivered again', {
      eventId: failed.delivered.record.eventId,
      ...failureFields(failed.error),
    });
    return { incomplete: failed.delivered.record.position };
  }

  /**
   * An event can't be saved, so its record is reported. Lambda doesn't deliver the events before it again. If some of
   * them were skipped, their gap is stored alone.
   */
  async #incompleteEvent(before: Position, record: UserRecord, skipped: number, error: unknown): Promise<Attempt> {
    const { eventId, position } = record;
    const after = positionAfter(before, startRun(before), skipped);
    if (after.gap?.seenThrough !== before.gap?.seenThrough) {
      try {
        if ((await this.#options.positions.save(this.#subject, before, after, [])) === 'moved') return 'moved';
      } catch (gapError) {
        this.#logger.error("The event couldn't be saved", { eventId, ...errorFields(error) });
        return this.#incompleteGap(gapError);
      }
    }
    this.#logger.error("The event couldn't be saved; the record will be delivered again", {
      eventId,
      ...errorFields(error),
    });
    return { incomplete: position };
  }

  /** The gap can't be stored, so all records of the aggregate are delivered again: also those that were skipped. */
  #incompleteGap(error: unknown): Attempt {
    const [first] = this.#events;
    const message = "The aggregate's gap couldn't be saved; its records will be delivered again";
    this.#logger.error(message, { eventId: first?.record.eventId, ...errorFields(error) });
    return { incomplete: first?.record.position };
  }

  /** Calls the handler. The state goes through JSON for each event, so it has the same form in every batch. */
  async #apply(
    event: EventOf<Types>,
    state: string | undefined,
  ): Promise<HandlerFailure | { state: string | undefined; writes: readonly Write[] }> {
    const { handler, positions } = this.#options;
    try {
      const stored = state === undefined ? undefined : ((JSON.parse(state) ?? undefined) as State | undefined);
      const change = await handler(event, stored);
      if (typeof change !== 'object' || change === null || !('state' in change)) {
        throw new InvalidChange('the handler returned no object with the member state');
      }
      const writes = change.writes ?? [];
      if (!Array.isArray(writes)) throw new InvalidChange("the handler's writes are no list");
      if (writes.length > positions.maxWrites) {
        throw new InvalidChange(`the handler returned more than ${positions.maxWrites} writes for one event`);
      }
      return { state: stateText(change.state), writes };
    } catch (error) {
      return new HandlerFailure(error);
    }
  }

  /** Reports the first event that isn't known to be saved. */
  #incomplete(reason: string, fields: LogFields): number | undefined {
    const open = this.#events.find(({ event }) => event.sequence > this.#applied);
    // Without an open event, only the gap couldn't be removed. The next batch of the aggregate removes it.
    if (!open) return undefined;
    const message = "The aggregate couldn't be saved; its records will be delivered again";
    this.#logger.error(message, { eventId: open.record.eventId, reason, ...fields });
    return open.record.position;
  }

  #logGap({ record, event }: Delivered<Types>, skipped: number): void {
    const isUnknownVersion = 'isKnownType' in event && event.isKnownType;
    this.#logger.warn('Events are skipped', {
      eventId: record.eventId,
      skipped,
      reason: isUnknownVersion ? 'the version of the type is unknown' : 'earlier events are missing',
    });
  }
}

/** Several events couldn't be saved in one transaction. */
class CombinedSaveError extends Error {
  override readonly name = 'CombinedSaveError';
  /** Lambda's id of the first event's record. */
  readonly eventId: string;
  readonly events: number;

  constructor(eventId: string, events: number, cause: unknown) {
    super("Several events couldn't be saved in one transaction", { cause });
    this.eventId = eventId;
    this.events = events;
  }
}

/** What may be logged of the error of a handler. */
function failureFields(error: unknown): LogFields {
  return error instanceof InvalidChange ? { ...errorFields(error), reason: error.message } : errorFields(error);
}

function startRun({ sequence, state }: Position): Run<never> {
  return { first: undefined, skippedBefore: 0, sequence, state, writes: [], events: 0 };
}

/** The position after a run of events, with the gap that is left. */
function positionAfter(before: Position, run: Run<unknown>, skipped: number): Position {
  const { sequence, state } = run;
  const seenThrough = Math.max(before.gap?.seenThrough ?? 0, skipped);
  const position = state === undefined ? { sequence } : { sequence, state };
  if (seenThrough <= sequence) return position;
  // While any gap stays, the time stays too.
  const since = before.gap?.since ?? new Date().toISOString();
  const gap: PositionGap = { missing: sequence + 1, seenThrough, since };
  return { ...position, gap };
}

/** Runs the tasks, at most `limit` at the same time. */
async function concurrently<T>(
  tasks: readonly (() => Promise<T>)[],
  limit: number,
  onResult: (result: T) => void,
): Promise<void> {
  const rest = tasks.values();
  const work = async (): Promise<void> => {
    for (const task of rest) onResult(await task());
  };
  await Promise.all(Array.from({ length: Math.min(limit, tasks.length) }, work));
}
