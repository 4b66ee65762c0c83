import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { DynamoDBPositions } from '../src/dynamodb.ts';
import { Consumer, decode, gate, MemoryPositions, type Position, type Positions } from '../src/index.ts';
import { type BatchCase, batchOf, cases, silent, types } from './cases.ts';
import { FakeDynamoDB } from './fake-dynamodb.ts';

const expectation = { source: cases.source, types };

suite('gate', () => {
  for (const { applied, event, ...expected } of cases.gate) {
    test(`${event} after ${applied}`, () => assert.deepEqual(gate.check(applied, event), expected));
  }
});

test('the known types are the ones of the cases', () => {
  assert.deepEqual(Object.keys(types), cases.knownTypes);
});

suite('decode', () => {
  for (const { name, ...expected } of cases.decode) {
    test(name, () => {
      const bytes = Buffer.from(expected.dataBase64 ?? expected.data ?? '', expected.dataBase64 ? 'base64' : 'utf8');
      const decoded = decode(bytes, expectation);
      if (expected.undecodable) {
        assert.equal(decoded.kind, 'undecodable');
        assert.deepEqual(Buffer.from(decoded.kind === 'undecodable' ? decoded.bytes : []), bytes);
      } else if (expected.unknown) {
        assert.ok(decoded.kind === 'unknown');
        const { time: _, ...event } = decoded.event;
        assert.deepEqual(event, expected.unknown);
      } else {
        assert.ok(decoded.kind === 'event');
        const absent = { correlationId: null, causationId: null, traceParent: null };
        assert.deepEqual({ ...absent, ...decoded.event }, expected.event);
      }
    });
  }
});

/** A store of the cases: its writes are the ids of the events. */
interface Store {
  positions: Positions<any>;
  write(id: string): unknown;
  /** The ids of the writes that were saved. */
  saved(): string[];
  /** All positions that are stored. */
  all(): Promise<[string, Position][]>;
}

const REFUSED = () => Object.assign(new Error('refused'), { name: 'ValidationException' });

function memory(failingSaves: string[]): Store {
  class Refusing extends MemoryPositions<string> {
    override async save(...args: Parameters<MemoryPositions<string>['save']>) {
      if (args[3].some((id) => failingSaves.includes(id))) throw REFUSED();
      return super.save(...args);
    }
  }
  const positions = new Refusing();
  return {
    positions,
    write: (id) => id,
    saved: () => [...positions.writes],
    all: async () => [...positions.positions],
  };
}

function dynamodb(failingSaves: string[]): Store {
  const client = new FakeDynamoDB({ positions: ['Subject'], effects: ['Id'] });
  const send = client.send.bind(client);
  client.send = async (command) => {
    const items = 'TransactItems' in command.input ? (command.input.TransactItems ?? []) : [];
    if (items.some(({ Put }) => failingSaves.includes(Put?.Item?.Id?.S ?? ''))) throw REFUSED();
    return send(command);
  };
  const positions = new DynamoDBPositions(client, 'positions');
  return {
    positions,
    write: (id) => ({ Put: { TableName: 'effects', Item: { Id: { S: id } } } }),
    saved: () => client.items('effects').map(({ Id }) => Id?.S ?? ''),
    all: () =>
      Promise.all(
        client.items('positions').map(async ({ Subject }): Promise<[string, Position]> => {
          const subject = Subject?.S ?? '';
          return [subject, await positions.read(subject)];
        }),
      ),
  };
}

for (const makeStore of [memory, dynamodb]) {
  suite(`batches with ${makeStore.name}`, () => {
    for (const batch of cases.batches) test(batch.name, () => runBatch(batch, makeStore(batch.failingSaves)));
  });
}

async function runBatch(batch: BatchCase, store: Store): Promise<void> {
  const { positions } = store;
  for (const subject of new Set([...Object.keys(batch.before), ...Object.keys(batch.gapsBefore)])) {
    const gap = batch.gapsBefore[subject];
    const stored = gap && { missing: gap.missing, seenThrough: gap.seen, since: '2026-11-20T21:03:05.123Z' };
    const before = { sequence: batch.before[subject] ?? 0, ...(stored ? { gap: stored } : {}) };
    await positions.save(subject, { sequence: 0 }, before, []);
  }
  const undecodable: number[] = [];
  const consumer = new Consumer({
    ...expectation,
    positions,
    logger: silent,
    handler: (event) => {
      if (batch.failing.includes(event.id)) throw new Error('fails');
      return { state: undefined, writes: [store.write(event.id)] };
    },
    onUndecodable: ({ position }) => {
      if (batch.failingUndecodable.includes(position)) throw new Error('fails');
      undecodable.push(position);
    },
  });
  const response = await consumer.process(batchOf(batch.records));

  const failures = batch.failure === null ? [] : [{ itemIdentifier: String(100 + batch.failure) }];
  assert.deepEqual(response, { batchItemFailures: failures });
  assert.deepEqual(undecodable, batch.undecodable);
  const subjects = (ids: string[]) =>
    ['a', 'b', 'c'].map((subject) => ids.filter((id) => id.startsWith(`${subject}:`)));
  assert.deepEqual(subjects(store.saved()), subjects(batch.applied));
  const all = await store.all();
  const after = all.filter(([, { sequence }]) => sequence > 0).map(([subject, { sequence }]) => [subject, sequence]);
  assert.deepEqual(Object.fromEntries(after), batch.after);
  const gaps = all.flatMap(([subject, { gap }]) =>
    gap ? [[subject, { missing: gap.missing, seen: gap.seenThrough }]] : [],
  );
  assert.deepEqual(Object.fromEntries(gaps), batch.gaps);
}
