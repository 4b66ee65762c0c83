import type { Event } from '../event.ts';
import { type CallFault, type Invocation, Invocations } from './invocations.ts';
import { Random } from './random.ts';
import {
  type HistoryEvent,
  makeStream,
  type RecordedGap,
  type Stream,
  type StreamOptions,
  type StreamRecord,
} from './stream.ts';

/** What the feed delivers. */
export interface HostileFeedOptions<E extends Event = Event> {
  /** An integer. It decides all faults. */
  readonly seed: number;
  /** The `source` of the events. */
  readonly source: string;
  /** The events of each aggregate, by its id. There is at least one. */
  readonly histories: Readonly<Record<string, readonly HistoryEvent<E>[]>>;
  /**
   * Whether events of some aggregates are missing at first, and their histories are sent again at the end. Some of the
   * missing events may arrive late before that. @defaultValue false
   */
  readonly gaps?: boolean;
  /** Whether invocations are killed at a wrapped call. @defaultValue true */
  readonly kills?: boolean;
  /** Whether wrapped calls fail while their invocation goes on. @defaultValue true */
  readonly failingCalls?: boolean;
  /** Whether two invocations run at the same time. They take turns at wrapped calls. @defaultValue true */
  readonly concurrency?: boolean;
  /** The most records of a batch, from 1 on. @defaultValue 10 */
  readonly batchSize?: number;
  /**
   * How often records are delivered without progress until the feed fails, from 10 on. Only the first few of these
   * deliveries have faults. @defaultValue 25
   */
  readonly maxDeliveries?: number;
  /** How many milliseconds a handler may neither return nor make a wrapped call. @defaultValue 10000 */
  readonly idleMillis?: number;
}

/** The event that the handler gets, in Lambda's form. `KinesisStreamEvent` of `@types/aws-lambda` has it too. */
export interface FeedBatch {
  Records: {
    awsRegion: string;
    eventID: string;
    eventName: string;
    eventSource: string;
    eventSourceARN: string;
    eventVersion: string;
    invokeIdentityArn: string;
    kinesis: {
      approximateArrivalTimestamp: number;
      data: string;
      kinesisSchemaVersion: string;
      partitionKey: string;
      sequenceNumber: string;
    };
  }[];
}

/** The handler under test. Its response is validated. */
export type FeedHandler = (batch: FeedBatch) => Promise<unknown>;

/** Options of {@link HostileFeed.run}. */
export interface RunOptions {
  /**
   * Returns the gaps that the handler has recorded, by the aggregate's id; without an aggregate that has none. The feed
   * calls it once, if `gaps` is true: when everything before the replay is completed and no invocation is running. It
   * compares them with the gaps that it knows, because an operator sends only what a recorded gap asks for. Without
   * this function, the feed sends all incomplete histories again, so it doesn't notice a gap that wasn't recorded.
   */
  readonly recordedGaps?: () => ReadonlyMap<string, RecordedGap> | Promise<ReadonlyMap<string, RecordedGap>>;
}

/** How often each fault happened. */
export interface FeedReport {
  /** Records of the stream, with duplicates. */
  records: number;
  /** Deliveries of a batch or a part of it. */
  deliveries: number;
  /** Deliveries of a batch that was completed before. */
  redeliveries: number;
  /** Responses that reported a record. */
  partialResponses: number;
  /** Batches that were cut into two halves after an error. */
  bisections: number;
  /** Deliveries to two invocations at the same time. */
  concurrentInvocations: number;
  /** Invocations that went on while later batches were delivered. */
  lateInvocations: number;
  /** Invocations that were killed before a call took effect. */
  killsBefore: number;
  /** Invocations that were killed after a call took effect. */
  killsAfter: number;
  /** Calls that failed while their invocation went on. */
  failedCalls: number;
  /** Invocations that returned a response that never arrived. */
  lostResponses: number;
}

/**
 * The handler broke a rule: its response is invalid, a batch is never completed, or a gap isn't recorded; or the test
 * can't find anything, because no call is wrapped. The message names the seed.
 */
export class FeedError extends Error {
  override readonly name = 'FeedError';
}

const BATCH_SIZE = 10;
const MAX_DELIVERIES = 25;
const LEAST_MAX_DELIVERIES = 10;
const IDLE_MILLIS = 10_000;
/** The deliveries of a batch and its parts that may have faults. */
const FAULTY_DELIVERIES = 6;
const FAULT_CHANCE = 0.5;
const CONCURRENT_CHANCE = 0.35;
const LATE_CHANCE = 0.6;
const REDELIVERY_CHANCE = 0.15;
const BISECTION_CHANCE = 0.5;
/** The highest number of a call that a fault is planned for. */
const MAX_FAULTY_CALL = 8;

/** Records that have to be completed. */
interface Part {
  readonly records: readonly StreamRecord[];
  /** Deliveries since the last progress. */
  readonly stalled: number;
  readonly isRedelivery: boolean;
}

/**
 * Delivers histories to a handler with every fault that Kinesis and Lambda allow: with duplicates, undecodable records,
 * events of an unknown type, redeliveries, invocations that are killed, and two invocations at once.
 *
 * The same seed has the same faults, if the handler waits for nothing else than wrapped calls.
 *
 * ```ts
 * const feed = new HostileFeed({ seed, source, histories });
 * const positions = new MemoryPositions<string>();
 * const consumer = new Consumer({ source, types, handler, positions: feed.wrap(positions), onUndecodable });
 * await feed.run((batch) => consumer.process(batch));
 * // Now compare the effects with feed.expected.
 * ```
 *
 * @typeParam E - The union of the events, so that the histories are checked by the compiler.
 */
export class HostileFeed<E extends Event = Event> {
  readonly #seed: number;
  readonly #stream: Stream;
  readonly #random: Random;
  readonly #invocations: Invocations;
  readonly #options: HostileFeedOptions<E>;
  readonly #batchSize: number;
  readonly #maxDeliveries: number;
  /** Invocations that Lambda doesn't wait for any more. */
  #late: Invocation[] = [];
  #hasRun = false;
  #lastError: unknown;
  readonly #report: FeedReport;

  /** @throws RangeError if an option is out of its range. */
  constructor(options: HostileFeedOptions<E>) {
    const { seed, source, histories, gaps = false, batchSize = BATCH_SIZE, maxDeliveries = MAX_DELIVERIES } = options;
    if (!Number.isSafeInteger(seed)) throw new RangeError('seed is not an integer');
    if (Object.keys(histories).length === 0) throw new RangeError('histories has no aggregate');
    if (!(batchSize >= 1)) throw new RangeError('batchSize is less than 1');
    if (!(maxDeliveries >= LEAST_MAX_DELIVERIES)) {
      throw new RangeError(`maxDeliveries is less than ${LEAST_MAX_DELIVERIES}`);
    }
    this.#seed = seed;
    this.#options = options;
    this.#batchSize = batchSize;
    this.#maxDeliveries = maxDeliveries;
    this.#random = new Random(seed);
    this.#stream = makeStream({ source, histories: histories as StreamOptions['histories'], gaps }, this.#random);
    this.#invocations = new Invocations(this.#random, options.idleMillis ?? IDLE_MILLIS);
    this.#report = {
      records: this.#stream.records.length,
      deliveries: 0,
      redeliveries: 0,
      partialResponses: 0,
      bisections: 0,
      concurrentInvocations: 0,
      lateInvocations: 0,
      killsBefore: 0,
      killsAfter: 0,
      failedCalls: 0,
      lostResponses: 0,
    };
  }

  /** The events of each aggregate that have to take effect, in this order, each exactly once. */
  get expected(): ReadonlyMap<string, readonly E[]> {
    return this.#stream.expected as ReadonlyMap<string, readonly E[]>;
  }

  /** The sequence of each aggregate's last event, which is its position at the end. It may be of an unknown type. */
  get expectedPositions(): ReadonlyMap<string, number> {
    return this.#stream.positions;
  }

  /** The distinct undecodable records. The handler gets each at least once. */
  get expectedUndecodable(): readonly Uint8Array[] {
    return this.#stream.undecodable;
  }

  /**
   * Returns an object with the same members, whose methods may fail: each call in an invocation of the feed is a point
   * at which the feed may kill the invocation, before or after the call takes effect, let the call alone fail, or let
   * another invocation go on. The methods have to be asynchronous. A call outside of an invocation goes through.
   *
   * @param target - The client or the position store that the handler uses, or an asynchronous function.
   */
  wrap<T extends object>(target: T): T {
    return this.#invocations.wrap(target);
  }

  /**
   * Delivers all records until each one is completed. A feed runs once.
   *
   * @throws {@link FeedError} if a response isn't valid, a batch is never completed, the handler doesn't return,
   * `recordedGaps` returns other gaps than the ones of the stream, or no invocation made a call through
   * {@link HostileFeed.wrap}. The last one is accepted if `kills`, `failingCalls` and `concurrency` are false: these
   * faults happen at wrapped calls only.
   */
  async run(handler: FeedHandler, { recordedGaps }: RunOptions = {}): Promise<FeedReport> {
    if (this.#hasRun) throw new FeedError('A feed runs only once: create another one');
    this.#hasRun = true;
    const { records, beforeReplay } = this.#stream;
    await this.#deliverAll(records.slice(0, beforeReplay), handler);
    if (this.#options.gaps && recordedGaps) this.#checkGaps(await recordedGaps());
    await this.#deliverAll(records.slice(beforeReplay), handler);
    this.#checkCalls();
    return this.#report;
  }

  /** Delivers records in batches, until each one is completed and no invocation is running. */
  async #deliverAll(records: readonly StreamRecord[], handler: FeedHandler): Promise<void> {
    for (let next = 0; next < records.length; ) {
      const size = this.#random.integer(1, this.#batchSize);
      await this.#complete(records.slice(next, next + size), handler);
      next += size;
    }
    await this.#endLate();
  }

  #checkGaps(recorded: ReadonlyMap<string, RecordedGap>): void {
    const { gaps } = this.#stream;
    for (const subject of new Set([...gaps.keys(), ...recorded.keys()])) {
      const [is, expected] = [recorded.get(subject), gaps.get(subject)].map(describeGap);
      if (is !== expected) {
        throw this.#error(`The recorded gap of the aggregate ${describe(subject)} is ${is}, expected: ${expected}`);
      }
    }
  }

  /** Throws if no call was wrapped: then no fault could happen, and a broken handler would pass. */
  #checkCalls(): void {
    const { kills = true, failingCalls = true, concurrency = true } = this.#options;
    // Without an event, a handler needs no call.
    if (this.#invocations.hasCalls || this.#stream.positions.size === 0) return;
    if (kills || failingCalls || concurrency) {
      throw this.#error(
        'no call went through feed.wrap: the handler has to use the objects that feed.wrap returns. Otherwise, ' +
          'no invocation is killed, no call fails, and no invocation waits for another one',
      );
    }
  }

  /** Delivers a batch, and what is left of it, until it is completed. */
  async #complete(records: readonly StreamRecord[], handler: FeedHandler): Promise<void> {
    let parts: Part[] = [{ records, stalled: 0, isRedelivery: false }];
    let deliveries = 0;
    for (let part = parts.shift(); part; part = parts.shift()) {
      if (part.stalled === this.#maxDeliveries) {
        throw this.#error(
          `${this.#name(part.records)} not completed after ${part.stalled} deliveries`,
          this.#lastError,
        );
      }
      deliveries += 1;
      const first = await this.#deliver(part.records, handler, deliveries <= FAULTY_DELIVERIES);
      parts = [...this.#rest(part, first), ...parts];
    }
  }

  /** What has to be delivered next. `first` is the reported record, or `error`. */
  #rest(part: Part, first: number | 'error' | undefined): Part[] {
    const { records, stalled } = part;
    if (first === undefined) {
      if (part.isRedelivery || !this.#random.chance(REDELIVERY_CHANCE)) return [];
      this.#report.redeliveries += 1;
      return [{ records, stalled: 0, isRedelivery: true }];
    }
    if (first === 'error') {
      const again = { ...part, stalled: stalled + 1 };
      if (records.length === 1 || !this.#random.chance(BISECTION_CHANCE)) return [again];
      this.#report.bisections += 1;
      const middle = Math.ceil(records.length / 2);
      return [
        { ...again, records: records.slice(0, middle) },
        { ...again, records: records.slice(middle) },
      ];
    }
    this.#report.partialResponses += 1;
    return [{ ...part, records: records.slice(first), stalled: first > 0 ? 0 : stalled + 1 }];
  }

  /** Delivers records once, perhaps to two invocations. Returns what the one that Lambda waits for reports. */
  async #deliver(
    records: readonly StreamRecord[],
    handler: FeedHandler,
    mayFail: boolean,
  ): Promise<number | 'error' | undefined> {
    this.#report.deliveries += 1;
    const isLost = mayFail && this.#random.chance(FAULT_CHANCE / 5);
    const main = this.#start(records, handler, mayFail, 0);
    const waited = [main];
    if ((this.#options.concurrency ?? true) && this.#random.chance(CONCURRENT_CHANCE)) {
      this.#report.concurrentInvocations += 1;
      if (this.#random.chance(LATE_CHANCE)) {
        this.#report.lateInvocations += 1;
        // It stops after a few calls, and goes on during a later delivery.
        this.#late.push(this.#start(records, handler, true, this.#random.integer(1, 4)));
      } else {
        waited.push(this.#start(records, handler, true, 0));
      }
    }
    await this.#run(waited, records);
    for (const late of this.#late) if (this.#random.chance(0.5)) late.isFrozen = false;
    this.#late = this.#late.filter((late) => late.outcome === undefined);

    for (const { outcome } of waited) {
      if (outcome?.kind === 'returned') this.#reported(outcome.response, records);
    }
    if (main.outcome?.kind !== 'returned') {
      if (main.outcome?.kind === 'threw') this.#lastError = main.outcome.error;
      return 'error';
    }
    if (isLost) {
      this.#report.lostResponses += 1;
      return 'error';
    }
    return this.#reported(main.outcome.response, records);
  }

  #start(records: readonly StreamRecord[], handler: FeedHandler, mayFail: boolean, freezeAfter: number): Invocation {
    const { kills = true, failingCalls = true } = this.#options;
    let fault: CallFault | undefined;
    if (mayFail && (kills || failingCalls) && this.#random.chance(FAULT_CHANCE)) {
      const isKill = this.#random.chance(0.65);
      fault = {
        kind: (isKill && kills) || !failingCalls ? 'kill' : 'fail',
        call: this.#random.integer(1, MAX_FAULTY_CALL),
        isAfter: this.#random.chance(0.5),
      };
    }
    // Each invocation gets objects of its own.
    return this.#invocations.start(() => handler(batchOf(records)), fault, freezeAfter);
  }

  async #run(invocations: readonly Invocation[], records: readonly StreamRecord[]): Promise<void> {
    if (!(await this.#invocations.runUntilEnded(invocations))) {
      throw this.#error(`The handler neither returned nor made a wrapped call. ${this.#name(records)} delivered`);
    }
    for (const { happened } of invocations) {
      if (happened?.kind === 'fail') this.#report.failedCalls += 1;
      else if (happened) this.#report[happened.isAfter ? 'killsAfter' : 'killsBefore'] += 1;
    }
  }

  /** Lets all late invocations end. */
  async #endLate(): Promise<void> {
    for (const late of this.#late) {
      late.freezeAfter = 0;
      late.isFrozen = false;
    }
    await this.#run(this.#late, this.#stream.records);
    this.#late = [];
  }

  /**
   * The position of the first record that a response reports.
   * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html
   */
  #reported(response: unknown, records: readonly StreamRecord[]): number | undefined {
    const failures = (response as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures;
    if (!Array.isArray(failures)) {
      throw this.#error(`The response is no object with the list batchItemFailures: ${describe(response)}`);
    }
    const positions = failures.map((failure: { itemIdentifier?: unknown } | null | undefined) => {
      const position = records.findIndex(({ sequenceNumber }) => sequenceNumber === failure?.itemIdentifier);
      if (position === -1) {
        throw this.#error(`The response reports a record that isn't in the batch: ${describe(failure)}`);
      }
      return position;
    });
    return positions.length === 0 ? undefined : Math.min(...positions);
  }

  #name(records: readonly StreamRecord[]): string {
    return `The batch from record ${records[0]?.sequenceNumber} on (records: ${records.length}) was`;
  }

  #error(message: string, cause?: unknown): FeedError {
    const text = `HostileFeed with seed ${this.#seed}${this.#options.gaps ? ' and gaps' : ''}: ${message}`;
    return new FeedError(text, cause === undefined ? {} : { cause });
  }
}

function batchOf(records: readonly StreamRecord[]): FeedBatch {
  return {
    Records: records.map(({ sequenceNumber, partitionKey, bytes }) => ({
      awsRegion: 'eu-central-1',
      eventID: `shardId-000000000000:${sequenceNumber}`,
      eventName: 'aws:kinesis:record',
      eventSource: 'aws:kinesis',
      eventSourceARN: 'arn:aws:kinesis:eu-central-1:123456789012:stream/domain-events',
      eventVersion: '1.0',
      invokeIdentityArn: 'arn:aws:iam::123456789012:role/consumer',
      kinesis: {
        approximateArrivalTimestamp: 1_795_000_000,
        data: Buffer.from(bytes).toString('base64'),
        kinesisSchemaVersion: '1.0',
        partitionKey,
        sequenceNumber,
      },
    })),
  };
}

function describeGap(gap: RecordedGap | undefined): string {
  return gap === undefined ? 'absent' : `missing ${gap.missing}, seenThrough ${gap.seenThrough}`;
}

function describe(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
