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
import { type FeedReport, forEachSeed, HostileFeed, Killed } from '../src/testing/index.ts';
import { type AccountEvent, apply, type Balance, bySubject, effects, histories, source, toItem } from './account.ts';
import { silent, types } from './cases.ts';
import { FakeDynamoDB } from './fake-dynamodb.ts';

const SEEDS = 200;
const BROKEN_SEEDS = 50;

/** A store of positions, and what took effect: the id of each event with the balance after it. */
interface Store {
  positions: Positions<TransactWriteItem>;
  effects: () => string[];
}

function memory(feed: HostileFeed<AccountEvent>): Store {
  const positions = new MemoryPositions<TransactWriteItem>();
  return { positions: feed.wrap(positions), effects: () => positions.writes.map(({ Put }) => effectOf(Put?.Item)) };
}

function dynamodb(feed: HostileFeed<AccountEvent>): Store {
  const client = new FakeDynamoDB({ positions: ['Subject'], effects: ['Id'] });
  const positions = new DynamoDBPositions(feed.wrap(client), 'positions');
  return { positions, effects: () => client.items('effects').map(effectOf) };
}

function effectOf(item: { Id?: { S?: string }; Balance?: { N?: string } } | undefined): string {
  return `${item?.Id?.S} ${item?.Balance?.N}`;
}

async function runConsumer(seed: number, gaps: boolean, makeStore: typeof memory): Promise<FeedReport> {
  const feed = new HostileFeed<AccountEvent>({ seed, source, histories, gaps });
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
  const report = await feed.run(
    (batch) => consumer.process(batch),
    async (subject) => (await store.positions.read(subject)).gap,
  );
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
  test('one that stores no gaps', async () => {
    let failures = 0;
    for (let seed = 1; seed <= BROKEN_SEEDS; seed += 1) {
      const feed = new HostileFeed<AccountEvent>({ seed, source, histories, gaps: true });
      const running = feed.run(handWritten(feed.wrap(new Table()), {}), async () => undefined);
      await running.catch((error) => {
        assert.match(error.message, /The gap of \S+ is none; it should be \d+ to \d+/);
        failures += 1;
      });
    }
    assert.ok(failures > BROKEN_SEEDS / 2, `${failures} of ${BROKEN_SEEDS} seeds fail`);
  });

  test('one whose store is not wrapped', async () => {
    const feed = new HostileFeed<AccountEvent>({ seed: 1, source, histories });
    await assert.rejects(feed.run(handWritten(new Table(), {})), /No call went through feed\.wrap/);
  });

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
