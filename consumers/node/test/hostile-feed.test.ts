import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';
import { DynamoDBPositions } from '../src/dynamodb.ts';
import {
  type BatchResponse,
  Consumer,
  decode,
  gate,
  type KinesisEvent,
  MemoryPositions,
  type Positions,
} from '../src/index.ts';
import {
  FeedError,
  type FeedReport,
  forEachSeed,
  HostileFeed,
  Killed,
  type RecordedGap,
} from '../src/testing/index.ts';
import {
  type AccountEvent,
  apply,
  type Balance,
  bySubject,
  effects,
  histories,
  manyHistories,
  source,
  toItem,
} from './account.ts';
import { silent, types } from './cases.ts';
import { FakeDynamoDB } from './fake-dynamodb.ts';

const SEEDS = 200;
const BROKEN_SEEDS = 50;

/** A store of positions, and what took effect: the id of each event with the balance after it. */
interface Store {
  positions: Positions<TransactWriteItem>;
  gaps: () => ReadonlyMap<string, RecordedGap>;
  effects: () => string[];
}

function memory(feed: HostileFeed<AccountEvent>): Store {
  const positions = new MemoryPositions<TransactWriteItem>();
  const storedEffects = () => positions.writes.map(({ Put }) => effectOf(Put?.Item));
  return { positions: feed.wrap(positions), gaps: () => positions.gaps, effects: storedEffects };
}

function dynamodb(feed: HostileFeed<AccountEvent>): Store {
  const client = new FakeDynamoDB({ positions: ['Subject'], effects: ['Id'] });
  const positions = new DynamoDBPositions(feed.wrap(client), 'positions');
  const gaps = () =>
    new Map(
      client
        .items('positions')
        .filter(({ Missing }) => Missing)
        .map(({ Subject, Missing, SeenThrough }) => [
          Subject?.S ?? '',
          { missing: Number(Missing?.N), seenThrough: Number(SeenThrough?.N) },
        ]),
    );
  return { positions, gaps, effects: () => client.items('effects').map(effectOf) };
}

function effectOf(item: { Id?: { S?: string }; Balance?: { N?: string } } | undefined): string {
  return `${item?.Id?.S} ${item?.Balance?.N}`;
}

async function runConsumer(seed: number, gaps: boolean, makeStore: typeof memory): Promise<FeedReport> {
  const feed = new HostileFeed<AccountEvent>({ seed, source, histories: gaps ? manyHistories : histories, gaps });
  const store = makeStore(feed);
  const undecodable = new Set<string>();
  const consumer = new Consumer({
    source,
    types,
    positions: store.positions,
    handler: toItem,
    onUndecodable: feed.wrap(async ({ bytes }) => {
      undecodable.add(Buffer.from(bytes).toString('base64'));
    }),
    logger: silent,
  });
  const report = await feed.run((batch) => consumer.process(batch), { recordedGaps: store.gaps });
  assert.deepEqual(bySubject(store.effects()), bySubject(effects(feed.expected)));
  for (const [subject, sequence] of feed.expectedPositions) {
    const position = await store.positions.read(subject);
    assert.equal(position.sequence, sequence);
    assert.equal(position.gap, undefined);
  }
  const expected = feed.expectedUndecodable.map((bytes) => Buffer.from(bytes).toString('base64'));
  assert.deepEqual([...undecodable].sort(), [...new Set(expected)].sort());
  return report;
}

suite('each event takes effect exactly once', () => {
  for (const makeStore of [memory, dynamodb]) {
    for (const gaps of [false, true]) {
      test(`${makeStore.name}, ${gaps ? 'with' : 'without'} gaps`, async () => {
        const reports: FeedReport[] = [];
        await forEachSeed(SEEDS, async (seed) => {
          reports.push(await runConsumer(seed, gaps, makeStore));
        });
        if (reports.length < SEEDS) return;
        for (const fault of Object.keys(reports[0] ?? {}) as (keyof FeedReport)[]) {
          const count = reports.reduce((sum, report) => sum + report[fault], 0);
          assert.ok(count > SEEDS / 10, `${fault} happened ${count} times`);
        }
      });
    }
  }
});

test('the same seed has the same faults', async () => {
  const calls: string[][] = [];
  for (let repetition = 0; repetition < 2; repetition += 1) {
    const feed = new HostileFeed<AccountEvent>({ seed: 11, source, histories });
    const client = new FakeDynamoDB({ positions: ['Subject'], effects: ['Id'] });
    const positions = new DynamoDBPositions(feed.wrap(client), 'positions');
    const consumer = new Consumer({ source, types, positions, handler: toItem, onUndecodable() {}, logger: silent });
    const batches: string[] = [];
    const report = await feed.run((batch) => {
      batches.push(JSON.stringify(batch));
      return consumer.process(batch);
    });
    calls.push([...batches, ...client.calls, JSON.stringify(report)]);
  }
  assert.deepEqual(calls[0], calls[1]);
});

/** A handler that a team wrote itself. Each flag breaks one guarantee. */
interface Mistakes {
  ignoresGate?: boolean;
  ignoresGaps?: boolean;
  savesInTwoSteps?: boolean;
  savesWithoutCondition?: boolean;
  returnsNothing?: boolean;
  reportsForeignRecord?: boolean;
  swallowsFailures?: boolean;
  alwaysFails?: boolean;
  ignoresSource?: boolean;
  failsOnUndecodable?: boolean;
  failsOnUnknown?: boolean;
}

/** The service's store: positions with state, and effects. */
class Table {
  readonly positions = new Map<string, { sequence: number; balance: number }>();
  readonly effects: string[] = [];

  async read(subject: string): Promise<{ sequence: number; balance: number }> {
    return this.positions.get(subject) ?? { sequence: 0, balance: 0 };
  }

  async savePosition(subject: string, sequence: number, balance: number): Promise<void> {
    this.positions.set(subject, { sequence, balance });
  }

  async addEffect(effect: string): Promise<void> {
    this.effects.push(effect);
  }

  async save(
    subject: string,
    sequence: number,
    balance: number,
    effect: string | undefined,
    isConditional: boolean,
  ): Promise<void> {
    const stored = this.positions.get(subject)?.sequence ?? 0;
    if (isConditional && stored !== sequence - 1) throw new Error('condition failed');
    this.positions.set(subject, { sequence, balance });
    if (effect) this.effects.push(effect);
  }
}

function handWritten(table: Table, mistakes: Mistakes): (batch: KinesisEvent) => Promise<unknown> {
  return async (batch) => {
    for (const record of batch.Records) {
      try {
        if (mistakes.alwaysFails) throw new Error('fails');
        let bytes: Uint8Array = Buffer.from(record.kinesis.data ?? '', 'base64');
        if (mistakes.ignoresSource) bytes = withSource(bytes);
        const decoded = decode(bytes, { source, types });
        if (decoded.kind === 'undecodable') {
          if (mistakes.failsOnUndecodable) throw new Error('undecodable');
          continue;
        }
        if (decoded.kind === 'unknown' && mistakes.failsOnUnknown) throw new Error('unknown');
        const { event } = decoded;
        const { sequence, balance } = await table.read(event.subject);
        const { result } = gate.check(sequence, event.sequence);
        if (!mistakes.ignoresGate && result === 'duplicate') continue;
        if (!mistakes.ignoresGate && !mistakes.ignoresGaps && result === 'gap') continue;
        const after = decoded.kind === 'event' ? apply(decoded.event, { balance }) : { balance };
        const effect = decoded.kind === 'event' ? `${event.id} ${after.balance}` : undefined;
        await saveEvent(table, mistakes, event.subject, event.sequence, after, effect);
      } catch (error) {
        if (!mistakes.swallowsFailures) {
          if (error instanceof Killed) throw error;
          return { batchItemFailures: [{ itemIdentifier: record.kinesis.sequenceNumber }] };
        }
      }
    }
    if (mistakes.returnsNothing) return undefined;
    if (mistakes.reportsForeignRecord) return { batchItemFailures: [{ itemIdentifier: '1' }] };
    return { batchItemFailures: [] } satisfies BatchResponse;
  };
}

async function saveEvent(
  table: Table,
  mistakes: Mistakes,
  subject: string,
  sequence: number,
  { balance }: Balance,
  effect: string | undefined,
): Promise<void> {
  if (mistakes.savesInTwoSteps) {
    if (effect) await table.addEffect(effect);
    await table.savePosition(subject, sequence, balance);
  } else {
    const isConditional = !mistakes.savesWithoutCondition && !mistakes.ignoresGate && !mistakes.ignoresGaps;
    await table.save(subject, sequence, balance, effect, isConditional);
  }
}

/** An event of another domain looks like one of ours to a handler that doesn't check the source. */
function withSource(bytes: Uint8Array): Uint8Array {
  try {
    return new TextEncoder().encode(JSON.stringify({ ...JSON.parse(new TextDecoder().decode(bytes)), source }));
  } catch {
    return bytes;
  }
}

async function runHandWritten(seed: number, mistakes: Mistakes, gaps: boolean): Promise<void> {
  const feed = new HostileFeed<AccountEvent>({ seed, source, histories, gaps });
  const table = new Table();
  await feed.run(handWritten(feed.wrap(table), mistakes));
  assert.deepEqual(bySubject(table.effects), bySubject(effects(feed.expected)));
}

suite('the feed detects broken handlers', () => {
  test('and accepts a right one', async () => {
    for (const gaps of [false, true]) await forEachSeed(SEEDS, (seed) => runHandWritten(seed, {}, gaps));
  });

  const detected: [Mistakes, RegExp, boolean?][] = [
    [{ ignoresGate: true }, /deepEqual|deep-equal/],
    [{ ignoresGaps: true }, /deepEqual|deep-equal/, true],
    [{ savesInTwoSteps: true }, /deepEqual|deep-equal/],
    [{ savesWithoutCondition: true }, /deepEqual|deep-equal/],
    [{ swallowsFailures: true }, /deepEqual|deep-equal/],
    [{ ignoresSource: true }, /deepEqual|deep-equal/],
    [{ returnsNothing: true }, /The response is no object with the list batchItemFailures: undefined/],
    [{ reportsForeignRecord: true }, /reports a record that isn't in the batch/],
    [{ alwaysFails: true }, /not completed after 25 deliveries/],
    [{ failsOnUndecodable: true }, /not completed after 25 deliveries/],
    [{ failsOnUnknown: true }, /not completed after 25 deliveries/],
  ];
  for (const [mistakes, expected, gaps = false] of detected) {
    test(`one that ${Object.keys(mistakes).join(', ')}`, async () => {
      let failures = 0;
      for (let seed = 1; seed <= BROKEN_SEEDS; seed += 1) {
        try {
          await runHandWritten(seed, mistakes, gaps);
        } catch (error) {
          assert.match((error as Error).message, expected);
          failures += 1;
        }
      }
      // A team that runs twenty seeds finds the mistake.
      assert.ok(failures >= BROKEN_SEEDS / 10, `${failures} of ${BROKEN_SEEDS} seeds fail`);
    });
  }
});

suite('a call through feed.wrap', () => {
  const off = { kills: false, failingCalls: false, concurrency: false };
  const completeAll = async () => ({ batchItemFailures: [] });

  for (const on of [{}, ...Object.keys(off).map((fault) => ({ ...off, [fault]: true }))]) {
    test(`is required with ${JSON.stringify(on)}`, async () => {
      const feed = new HostileFeed<AccountEvent>({ seed: 1, source, histories, ...on });
      // A call outside of the invocations doesn't count.
      await feed.wrap(new Table()).read('a');
      await assert.rejects(feed.run(completeAll), { name: 'FeedError', message: /no call went through feed\.wrap: / });
    });
  }

  test('is not required without the faults that need it, or without an event', async () => {
    await new HostileFeed<AccountEvent>({ seed: 1, source, histories, ...off }).run(completeAll);
    await forEachSeed(20, async (seed) => {
      const feed = new HostileFeed<AccountEvent>({ seed, source, histories: { a: [] } });
      // There may be an event of an unknown type.
      if (feed.expectedPositions.size === 0) await feed.run(completeAll);
    });
  });
});

test('faults can be switched off', async () => {
  const faults: [object, (keyof FeedReport)[]][] = [
    [{ kills: false }, ['killsBefore', 'killsAfter']],
    [{ failingCalls: false }, ['failedCalls']],
    [{ concurrency: false }, ['concurrentInvocations', 'lateInvocations']],
  ];
  for (const [options, absent] of faults) {
    const sum: Partial<FeedReport> = {};
    await forEachSeed(20, async (seed) => {
      const feed = new HostileFeed<AccountEvent>({ seed, source, histories, ...options });
      const report = await feed.run(handWritten(feed.wrap(new Table()), {}));
      for (const [fault, count] of Object.entries(report) as [keyof FeedReport, number][]) {
        sum[fault] = (sum[fault] ?? 0) + count;
      }
    });
    for (const fault of ['killsBefore', 'killsAfter', 'failedCalls', 'lateInvocations'] as const) {
      assert.equal((sum[fault] ?? 0) > 0, !absent.includes(fault), `${fault} with ${JSON.stringify(options)}`);
    }
  }
});

suite('recordedGaps', () => {
  test('with calls that fail: a gap is recorded although a later event cannot be saved', async () => {
    const few = { a: histories.long?.slice(0, 5) ?? [], b: histories.long?.slice(0, 5) ?? [] };
    const faults = { kills: false, concurrency: false };
    await forEachSeed(3 * SEEDS, async (seed) => {
      const feed = new HostileFeed<AccountEvent>({ seed, source, histories: few, gaps: true, ...faults });
      const { positions, gaps } = memory(feed);
      const options = { source, types, positions, handler: toItem, onUndecodable() {}, logger: silent };
      const consumer = new Consumer(options);
      await feed.run((batch) => consumer.process(batch), { recordedGaps: gaps });
    });
  });

  // Each change makes one gap wrong: the gaps of an aggregate that has one are compared.
  const changes: Record<string, (gap: RecordedGap) => RecordedGap | undefined> = {
    'an absent gap': () => undefined,
    'another missing sequence': ({ missing, seenThrough }) => ({ missing: missing + 1, seenThrough }),
    'another skipped sequence': ({ missing, seenThrough }) => ({ missing, seenThrough: seenThrough - 1 }),
  };

  async function run(seed: number, change: (gaps: Map<string, RecordedGap>) => void): Promise<void> {
    const feed = new HostileFeed<AccountEvent>({ seed, source, histories, gaps: true });
    const { positions, gaps } = memory(feed);
    const options = { source, types, positions, handler: toItem, onUndecodable() {}, logger: silent };
    const consumer = new Consumer(options);
    const recordedGaps = async () => {
      const recorded = new Map(gaps());
      change(recorded);
      return recorded;
    };
    await feed.run((batch) => consumer.process(batch), { recordedGaps });
  }

  for (const [name, change] of Object.entries(changes)) {
    test(`with ${name} fails, and the error names the aggregate`, async () => {
      let changed = 0;
      for (let seed = 1; seed <= 20; seed += 1) {
        let subject: string | undefined;
        const running = run(seed, (recorded) => {
          const [first] = recorded;
          if (!first) return;
          subject = first[0];
          const gap = change(first[1]);
          if (gap) recorded.set(subject, gap);
          else recorded.delete(subject);
        });
        const error = await running.catch((error: Error) => error);
        if (subject === undefined) continue;
        changed += 1;
        assert.ok(error instanceof FeedError);
        assert.ok(error.message.includes(`The recorded gap of the aggregate ${JSON.stringify(subject)} is `));
      }
      assert.ok(changed >= 10);
    });
  }

  test('with a gap that is none fails', async () => {
    const more = run(1, (recorded) => recorded.set('another', { missing: 1, seenThrough: 2 }));
    await assert.rejects(more, /aggregate "another" is missing 1, seenThrough 2, expected: absent/);
  });

  test('is called once with gaps, and never without', async () => {
    for (const gaps of [false, true]) {
      const feed = new HostileFeed<AccountEvent>({ seed: 3, source, histories, gaps });
      const positions = new MemoryPositions<TransactWriteItem>();
      const consumer = new Consumer({
        source,
        types,
        positions: feed.wrap(positions),
        handler: toItem,
        onUndecodable() {},
        logger: silent,
      });
      let calls = 0;
      const recordedGaps = () => {
        calls += 1;
        return positions.gaps;
      };
      await feed.run((batch) => consumer.process(batch), { recordedGaps });
      assert.equal(calls, gaps ? 1 : 0);
    }
  });
});
