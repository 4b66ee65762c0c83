import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { DynamoDBPositions } from '../src/dynamodb.ts';
import { Consumer, decode, gate, MemoryPositions, type Positions } from '../src/index.ts';
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

for (const [store, makePositions] of [
  ['MemoryPositions', () => new MemoryPositions<never>()],
  ['DynamoDBPositions', () => new DynamoDBPositions(new FakeDynamoDB({ positions: ['Subject'] }), 'positions')],
] as const) {
  suite(`batches with ${store}`, () => {
    for (const batch of cases.batches) {
      test(batch.name, () => runBatch(batch, makePositions()));
    }
  });
}

async function runBatch(batch: BatchCase, positions: Positions<never>): Promise<void> {
  for (const [subject, sequence] of Object.entries(batch.before)) {
    const gap = batch.gapsBefore[subject];
    const stored = gap && { missing: gap.missing, seenThrough: gap.seen, since: '2026-11-20T21:03:05.000Z' };
    await positions.save(subject, { sequence: 0 }, { sequence, ...(stored && { gap: stored }) }, []);
  }
  const handled = new Set<string>();
  const applied: string[] = [];
  const refusing: Positions<never> = {
    maxWrites: positions.maxWrites,
    read: (subject) => positions.read(subject),
    save: async (subject, before, after, writes) => {
      const count = after.sequence - before.sequence;
      const ids = Array.from({ length: count }, (_, index) => `${subject}:${before.sequence + 1 + index}`);
      if (ids.some((id) => batch.failingSaves.includes(id))) throw new Error('refused');
      const result = await positions.save(subject, before, after, writes);
      if (result === 'saved') applied.push(...ids.filter((id) => handled.has(id)));
      return result;
    },
  };
  const undecodable: number[] = [];
  const consumer = new Consumer({
    ...expectation,
    positions: refusing,
    logger: silent,
    handler: (event) => {
      if (batch.failing.includes(event.id)) throw new Error('fails');
      handled.add(event.id);
      return { state: undefined };
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
  for (const subject of ['a', 'b', 'c']) {
    const ofSubject = (ids: string[]) => ids.filter((id) => id.startsWith(`${subject}:`));
    assert.deepEqual(ofSubject(applied), ofSubject(batch.applied));
    const { sequence, gap } = await positions.read(subject);
    assert.equal(sequence, batch.after[subject] ?? 0);
    assert.deepEqual(gap && { missing: gap.missing, seen: gap.seenThrough }, batch.gaps[subject]);
  }
}
