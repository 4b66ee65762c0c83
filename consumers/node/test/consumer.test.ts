import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { type AttributeValue, DynamoDBClient, type TransactWriteItem } from '@aws-sdk/client-dynamodb';
import { DynamoDBPositions } from '../src/dynamodb.ts';
import {
  type Change,
  Consumer,
  type Handler,
  type KinesisEvent,
  MemoryPositions,
  type Position,
  type Positions,
  type SaveResult,
} from '../src/index.ts';
import { toItem } from './account.ts';
import { batchOf, type CaseRecord, cases, MemoryLogger, silent, types } from './cases.ts';
import { FakeDynamoDB } from './fake-dynamodb.ts';

const { source } = cases;
type Types = typeof types;

/** Events of account `a` with these sequences. */
function eventsOf(...sequences: number[]): KinesisEvent {
  return batchOf(sequences.map((sequence): CaseRecord => ({ event: `a:${sequence}` })));
}

function consumerOf<State, Write>(
  positions: Positions<Write>,
  handler: Handler<Types, State, Write>,
  logger = silent,
): Consumer<Types, State, Write> {
  return new Consumer({ source, types, positions, handler, onUndecodable() {}, logger });
}

const reported = (position: number) => ({ batchItemFailures: [{ itemIdentifier: String(100 + position) }] });
const completed = { batchItemFailures: [] };

function put(id: string, condition?: 'attribute_not_exists(#Id)'): TransactWriteItem {
  const names = condition ? { ConditionExpression: condition, ExpressionAttributeNames: { '#Id': 'Id' } } : {};
  return { Put: { TableName: 'effects', Item: { Id: { S: id } }, ...names } };
}

function fake(): FakeDynamoDB {
  return new FakeDynamoDB({ positions: ['Subject'], effects: ['Id'] });
}

function writing(
  client: FakeDynamoDB,
  writesOf: (sequence: number) => TransactWriteItem[],
): Consumer<Types, undefined> {
  return consumerOf<undefined, TransactWriteItem>(new DynamoDBPositions(client, 'positions'), ({ sequence }) => ({
    state: undefined,
    writes: writesOf(sequence),
  })) as Consumer<Types, undefined>;
}

const READ = 'GetItemCommand';
const UPDATE = 'UpdateItemCommand';
const TRANSACTION = 'TransactWriteItemsCommand';

suite('DynamoDBPositions', () => {
  test('accepts the client of the AWS SDK', () => {
    assert.ok(new DynamoDBPositions(new DynamoDBClient({ region: 'eu-central-1' }), 'positions'));
  });

  test('saves the events of an aggregate with their writes in one transaction', async () => {
    const client = fake();
    const positions = new DynamoDBPositions(client, 'positions');
    assert.deepEqual(await consumerOf(positions, toItem).process(eventsOf(1, 2, 3)), completed);
    assert.deepEqual(client.calls, [READ, TRANSACTION]);
    assert.deepEqual(client.items('positions'), [
      { Subject: { S: 'a' }, Sequence: { N: '3' }, State: { S: '{"balance":5}' } },
    ]);
  });

  test('saves events without writes by an update', async () => {
    const client = fake();
    assert.deepEqual(await writing(client, () => []).process(eventsOf(1, 2)), completed);
    assert.deepEqual(client.calls, [READ, UPDATE]);
    assert.deepEqual(client.items('positions'), [{ Subject: { S: 'a' }, Sequence: { N: '2' } }]);
  });

  test('writes nothing for duplicates', async () => {
    const client = fake();
    const consumer = writing(client, () => []);
    await consumer.process(eventsOf(1, 2));
    client.calls.length = 0;
    assert.deepEqual(await consumer.process(eventsOf(2, 1)), completed);
    assert.deepEqual(client.calls, [READ]);
  });

  test('stores a gap, keeps the time when it was found, and removes it when it is closed', async () => {
    const client = fake();
    const consumer = writing(client, () => []);
    await consumer.process(eventsOf(1, 4));
    const [item = {}] = client.items('positions');
    const { GapSince, ...rest } = item;
    assert.deepEqual(rest, {
      Subject: { S: 'a' },
      Sequence: { N: '1' },
      Missing: { N: '2' },
      SeenThrough: { N: '4' },
    });
    assert.match(GapSince?.S ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    await consumer.process(eventsOf(2, 6));
    assert.deepEqual(client.items('positions'), [
      { ...item, Sequence: { N: '2' }, Missing: { N: '3' }, SeenThrough: { N: '6' } },
    ]);
    await consumer.process(eventsOf(3, 4, 5, 6));
    assert.deepEqual(client.items('positions'), [{ Subject: { S: 'a' }, Sequence: { N: '6' } }]);
  });

  test('stores a gap before the first event without a sequence', async () => {
    const client = fake();
    await writing(client, () => []).process(eventsOf(3));
    const [{ GapSince, ...rest } = {}] = client.items('positions');
    assert.deepEqual(rest, { Subject: { S: 'a' }, Missing: { N: '1' }, SeenThrough: { N: '3' } });
  });

  test('saves the greatest sequence exactly', async () => {
    const client = fake();
    const positions = new DynamoDBPositions(client, 'positions');
    const before = { sequence: Number.MAX_SAFE_INTEGER - 1 };
    await positions.save('a', { sequence: 0 }, before, []);
    await positions.save('a', before, { sequence: Number.MAX_SAFE_INTEGER }, []);
    assert.deepEqual(client.items('positions')[0]?.Sequence, { N: '9007199254740991' });
    assert.deepEqual(await positions.read('a'), { sequence: 9007199254740991 });
  });

  test('splits many writes into transactions, and never the ones of one event', async () => {
    const client = fake();
    const sizes: number[] = [];
    const send = client.send.bind(client);
    client.send = async (command) => {
      if ('TransactItems' in command.input) sizes.push(command.input.TransactItems?.length ?? 0);
      return send(command);
    };
    const writesOf = (sequence: number) => Array.from({ length: 40 }, (_, index) => put(`${sequence}-${index}`));
    assert.deepEqual(await writing(client, writesOf).process(eventsOf(1, 2, 3, 4, 5)), completed);
    assert.deepEqual(sizes, [81, 81, 41]);
    assert.equal(client.items('effects').length, 200);
  });

  test('reports an event with more writes than a transaction has', async () => {
    const client = fake();
    const writesOf = (sequence: number) =>
      Array.from({ length: sequence === 2 ? 100 : 99 }, (_, index) => put(`${sequence}-${index}`));
    assert.deepEqual(await writing(client, writesOf).process(eventsOf(1, 2, 3)), reported(1));
    assert.deepEqual(client.calls, [READ, TRANSACTION]);
    assert.deepEqual(client.items('positions'), [{ Subject: { S: 'a' }, Sequence: { N: '1' } }]);
  });

  test('saves events that write the same item one after the other', async () => {
    const client = fake();
    const logger = new MemoryLogger();
    const consumer = consumerOf<undefined, TransactWriteItem>(
      new DynamoDBPositions(client, 'positions'),
      () => ({ state: undefined, writes: [put('same')] }),
      logger,
    );
    assert.deepEqual(await consumer.process(eventsOf(1, 2, 3)), completed);
    assert.deepEqual(client.items('positions'), [{ Subject: { S: 'a' }, Sequence: { N: '3' } }]);
    const { stack: _, ...line } = JSON.parse(logger.lines[0] ?? '');
    assert.deepEqual(line, {
      level: 'INFO',
      message: "Several events couldn't be saved in one transaction; each one is saved alone",
      eventId: 'shardId-000000000000:100',
      events: 3,
      error: 'ValidationException',
    });
  });

  test('reports the event whose write is refused, and keeps the events before it', async () => {
    const client = fake();
    const logger = new MemoryLogger();
    const positions = new DynamoDBPositions(client, 'positions');
    const consumer = consumerOf<undefined, TransactWriteItem>(
      positions,
      ({ sequence }) => ({
        state: undefined,
        writes: [put(sequence === 3 ? '1' : String(sequence), 'attribute_not_exists(#Id)')],
      }),
      logger,
    );
    assert.deepEqual(await consumer.process(eventsOf(1, 2, 3, 4)), reported(2));
    assert.equal((await positions.read('a')).sequence, 2);
    assert.match(logger.lines.join('\n'), /"error":"WriteConditionError"/);
  });

  test('rejects an item that another program has written in another form', async () => {
    const client = fake();
    const items: Record<string, AttributeValue>[] = [
      { Sequence: { S: '1' } },
      { Sequence: { N: '0' } },
      { State: { N: '1' } },
      { Missing: { N: '1' } },
      { SeenThrough: { N: '2' }, GapSince: { S: '2026-11-20T21:03:05.123Z' } },
      { Missing: { N: '1' }, SeenThrough: { S: '2' } },
    ];
    for (const item of items) {
      client.tables.get('positions')?.set('[{"S":"a"}]', { Subject: { S: 'a' }, ...item });
      assert.deepEqual(await writing(client, () => []).process(eventsOf(1)), reported(0));
    }
    const positions = new DynamoDBPositions(client, 'positions');
    for (const [absent, present] of [
      ['Missing', 'SeenThrough'],
      ['SeenThrough', 'Missing'],
    ] as const) {
      client.tables.get('positions')?.set('[{"S":"a"}]', { Subject: { S: 'a' }, [present]: { N: '2' } });
      await assert.rejects(positions.read('a'), new RegExp(`attribute ${absent} is not`));
    }
  });

  test('accepts a gap without a time, and sets the time with the next change', async () => {
    const client = fake();
    client.tables
      .get('positions')
      ?.set('[{"S":"a"}]', { Subject: { S: 'a' }, Missing: { N: '1' }, SeenThrough: { N: '2' } });
    const positions = new DynamoDBPositions(client, 'positions');
    assert.deepEqual(await positions.read('a'), { sequence: 0, gap: { missing: 1, seenThrough: 2 } });
    await writing(client, () => []).process(eventsOf(3));
    assert.match(client.items('positions')[0]?.GapSince?.S ?? '', /^\d{4}-/);
  });
});

/** Another invocation is faster for the first `times` saves. */
class Contended extends MemoryPositions<string> {
  attempts = 0;
  readonly #times: number;
  constructor(times: number) {
    super();
    this.#times = times;
  }

  override async save(
    ...[subject, before, after, writes]: Parameters<MemoryPositions<string>['save']>
  ): Promise<SaveResult> {
    this.attempts += 1;
    if (this.attempts <= this.#times) return 'moved';
    return super.save(subject, before, after, writes);
  }
}

suite('a position that another invocation moved', () => {
  const handler = (event: { id: string }): Change<undefined, string> => ({ state: undefined, writes: [event.id] });

  test('is read again', async () => {
    const positions = new Contended(4);
    assert.deepEqual(await consumerOf(positions, handler).process(eventsOf(1, 2)), completed);
    assert.deepEqual(positions.writes, ['a:1', 'a:2']);
  });

  test('makes the aggregate incomplete after six attempts', async () => {
    const positions = new Contended(6);
    const logger = new MemoryLogger();
    assert.deepEqual(await consumerOf(positions, handler, logger).process(eventsOf(1, 2)), reported(0));
    assert.equal(positions.attempts, 6);
    const reason = 'Another invocation moved the position, or saving it was throttled, each time';
    assert.ok(logger.lines[0]?.includes(`"reason":"${reason}"`), logger.lines[0]);
  });

  test('has all six attempts after the switch to single saves', async () => {
    class Refusing extends Contended {
      override async save(...args: Parameters<MemoryPositions<string>['save']>): Promise<SaveResult> {
        if (args[3].length > 1) throw new Error('refused');
        return super.save(...args);
      }
    }
    const positions = new Refusing(5);
    assert.deepEqual(await consumerOf(positions, handler).process(eventsOf(1, 2)), completed);
    assert.deepEqual(positions.writes, ['a:1', 'a:2']);
  });

  for (const code of ['ThrottlingError', 'ProvisionedThroughputExceeded']) {
    for (const index of [0, 1]) {
      test(`is like a transaction whose item ${index} is cancelled with ${code}: no event is saved alone`, async () => {
        const client = fake();
        const sizes: number[] = [];
        const send = client.send.bind(client);
        client.send = async (command) => {
          if (!('TransactItems' in command.input)) return send(command);
          sizes.push(command.input.TransactItems?.length ?? 0);
          if (sizes.length > 5) return send(command);
          throw Object.assign(new Error('cancelled'), {
            name: 'TransactionCanceledException',
            CancellationReasons: [0, 1, 2].map((item) => ({ Code: item === index ? code : 'None' })),
          });
        };
        const consumer = writing(client, (sequence) => [put(String(sequence))]);
        assert.deepEqual(await consumer.process(eventsOf(1, 2)), completed);
        assert.deepEqual(sizes, [3, 3, 3, 3, 3, 3]);
      });
    }
  }

  test('is a conflict of transactions too, also of the own writes', async () => {
    const client = fake();
    const send = client.send.bind(client);
    let conflicts = 2;
    client.send = async (command) => {
      if (!('TransactItems' in command.input) || conflicts === 0) return send(command);
      conflicts -= 1;
      throw Object.assign(new Error('cancelled'), {
        name: 'TransactionCanceledException',
        CancellationReasons: [{ Code: 'None' }, { Code: 'TransactionConflict' }],
      });
    };
    assert.deepEqual(await writing(client, () => [put('x')]).process(eventsOf(1)), completed);
  });

  test('is noticed if only the gap differs', async () => {
    for (const positions of [new MemoryPositions<never>(), new DynamoDBPositions(fake(), 'positions')]) {
      const gap = { missing: 1, seenThrough: 9, since: '2026-11-20T21:03:05.123Z' };
      assert.equal(await positions.save('a', { sequence: 0 }, { sequence: 0, gap }, []), 'saved');
      const lower = { sequence: 0, gap: { ...gap, seenThrough: 5 } };
      assert.equal(await positions.save('a', { sequence: 0 }, lower, []), 'moved');
    }
  });
});

suite('the handler', () => {
  interface Sum {
    sum: number;
    ids: string[];
  }

  test('gets the state of the event before', async () => {
    const positions = new MemoryPositions<never>();
    const consumer = consumerOf<number[], never>(positions, ({ sequence }, state = []) => ({
      state: [...state, sequence],
    }));
    await consumer.process(eventsOf(1, 2));
    await consumer.process(eventsOf(3));
    assert.deepEqual(await positions.read('a'), { sequence: 3, state: '[1,2,3]' });
  });

  test('may change the state in place, and nothing of it stays if it fails', async () => {
    const positions = new MemoryPositions<never>();
    const consumer = consumerOf<Sum, never>(positions, ({ id, sequence }, state = { sum: 0, ids: [] }) => {
      state.sum += sequence;
      state.ids.push(id);
      if (sequence === 3) throw new Error('fails');
      return { state };
    });
    assert.deepEqual(await consumer.process(eventsOf(1, 2, 3)), reported(2));
    assert.equal((await positions.read('a')).state, '{"sum":3,"ids":["a:1","a:2"]}');
  });

  test('may remove the state', async () => {
    const positions = new MemoryPositions<never>();
    const consumer = consumerOf<number | undefined, never>(positions, ({ sequence }) => ({
      state: sequence === 1 ? 1 : undefined,
    }));
    await consumer.process(eventsOf(1, 2));
    assert.deepEqual(await positions.read('a'), { sequence: 2 });
  });

  test('may remove the state with null, as in the other languages', async () => {
    const positions = new MemoryPositions<never>();
    const states: unknown[] = [];
    const consumer = consumerOf<number | null, never>(positions, ({ sequence }, state) => {
      states.push(state);
      return { state: sequence === 1 ? 1 : null };
    });
    await consumer.process(eventsOf(1, 2, 3));
    assert.deepEqual(await positions.read('a'), { sequence: 3 });
    assert.deepEqual(states, [undefined, 1, undefined]);
    // An older version of this package stored null.
    positions.set('a', { sequence: 3, state: 'null' });
    await consumer.process(eventsOf(4));
    assert.equal(states.at(-1), undefined);
  });

  test('may leave members of the state undefined, and use the objects of another realm', async () => {
    const positions = new MemoryPositions<never>();
    const foreign = runInNewContext('({ list: [null, { a: true }] })');
    const state = { balance: 1.5, absent: undefined, foreign, bare: Object.create(null) };
    await consumerOf<unknown, never>(positions, () => ({ state })).process(eventsOf(1));
    assert.equal((await positions.read('a')).state, '{"balance":1.5,"foreign":{"list":[null,{"a":true}]},"bare":{}}');
  });

  const cycle: unknown[] = [];
  cycle.push(cycle);
  for (const [name, result, reason] of [
    ['nothing', undefined, 'the handler returned no object with the member state'],
    ['no state', { writes: [] }, 'the handler returned no object with the member state'],
    ['no list of writes', { state: 1, writes: 'x' }, "the handler's writes are no list"],
    ['a state that is a bigint', { state: 1n }, "the state can't be written as JSON"],
    ['a cycle', { state: cycle }, "the state can't be written as JSON"],
    ['NaN', { state: Number.NaN }, 'the state contains NaN or an infinite number, which JSON replaces by null'],
    [
      'an infinite number',
      { state: { a: [{ b: -Infinity }] } },
      'the state contains NaN or an infinite number, which JSON replaces by null',
    ],
    ...[new Map(), { a: new Set() }, [new Date(0)], new (class Account {})()].map((state) => [
      `an object of a class: ${JSON.stringify(state)}`,
      { state },
      'the state contains an object of a class, such as a Map, a Set or a Date',
    ]),
    ...[[[undefined], 'undefined'] as const, [{ a() {} }, 'function'] as const, [[Symbol('s')], 'symbol'] as const].map(
      ([state, type]) => [
        `a state with a value of the type ${type}`,
        { state },
        `the state contains a value of the type ${type}, which JSON doesn't have`,
      ],
    ),
  ] as [string, unknown, string][]) {
    test(`fails if it returns ${name}`, async () => {
      const logger = new MemoryLogger();
      const positions = new MemoryPositions<never>();
      const consumer = consumerOf(positions, () => result as Change<unknown, never>, logger);
      assert.deepEqual(await consumer.process(eventsOf(1)), reported(0));
      const { error, reason: logged } = JSON.parse(logger.lines[0] ?? '');
      assert.deepEqual([error, logged], ['InvalidChange', reason]);
      assert.equal(positions.positions.size, 0);
    });
  }
});

suite('a gap', () => {
  const failsAt = (failing: number) => (event: { sequence: number }) => {
    if (event.sequence === failing) throw new Error('fails');
    return { state: undefined };
  };

  test('is recorded if a later event fails, because the skipped record is not reported', async () => {
    const positions = new MemoryPositions<never>();
    assert.deepEqual(await consumerOf(positions, failsAt(2)).process(eventsOf(1, 5, 2)), reported(2));
    const { sequence, gap } = await positions.read('a');
    assert.deepEqual([sequence, gap?.missing, gap?.seenThrough], [1, 2, 5]);
  });

  test('keeps its time while any gap stays', async () => {
    const positions = new MemoryPositions<never>();
    const since = '2026-11-20T21:03:05.123Z';
    positions.set('a', { sequence: 1, gap: { missing: 2, seenThrough: 3, since } });
    await consumerOf(positions, failsAt(0)).process(eventsOf(2, 9, 3));
    assert.deepEqual((await positions.read('a')).gap, { missing: 4, seenThrough: 9, since });
  });

  test('that cannot be stored alone either makes all records of the aggregate incomplete', async () => {
    class Refusing extends MemoryPositions<string> {
      override async save(...args: Parameters<MemoryPositions<string>['save']>): Promise<SaveResult> {
        if (args[2].gap || args[3].length > 1) throw new Error('refused');
        return super.save(...args);
      }
    }
    const positions = new Refusing();
    const consumer = consumerOf(positions, ({ id }) => ({ state: undefined, writes: [id] }));
    const { batchItemFailures } = await consumer.process(
      batchOf([{ event: 'b:1' }, { event: 'a:1' }, { event: 'a:4' }, { event: 'a:2' }, { event: 'a:6' }]),
    );
    assert.deepEqual({ batchItemFailures }, reported(1));
  });

  test('that cannot be saved makes the skipped record incomplete', async () => {
    class Unavailable extends MemoryPositions<never> {
      override async save(_: string, before: Position): Promise<SaveResult> {
        throw new Error(`unavailable at ${before.sequence}`);
      }
    }
    assert.deepEqual(await consumerOf(new Unavailable(), failsAt(0)).process(eventsOf(2)), reported(0));
  });

  test('keeps the highest sequence that was skipped after a gap of all batches', async () => {
    const positions = new MemoryPositions<never>();
    const consumer = consumerOf(positions, failsAt(0));
    await consumer.process(eventsOf(1, 9));
    await consumer.process(eventsOf(5));
    assert.equal((await positions.read('a')).gap?.seenThrough, 9);
  });
});

suite('the batch', () => {
  const consumer = consumerOf(new MemoryPositions<never>(), () => ({ state: undefined }));

  for (const event of [undefined, null, {}, { Records: {} }, { Records: [null] }, { Records: [{ kinesis: {} }] }]) {
    test(`fails as a whole if the event is ${JSON.stringify(event)}`, async () => {
      await assert.rejects(consumer.process(event as unknown as KinesisEvent), TypeError);
    });
  }

  for (const data of ['%', 'eyJ', 'e30', ' e30=', 'e30=\n', 1, null]) {
    test(`reports a record whose data is ${JSON.stringify(data)}`, async () => {
      const event = { Records: [{ kinesis: { sequenceNumber: '100', data } }] };
      assert.deepEqual(await consumer.process(event as KinesisEvent), reported(0));
    });
  }

  test('refuses a concurrency of 0', () => {
    const options = { source, types, positions: new MemoryPositions<never>(), onUndecodable() {} };
    assert.throws(
      () => new Consumer({ ...options, handler: () => ({ state: undefined }), concurrency: 0 }),
      RangeError,
    );
  });

  test('processes at most as many aggregates at the same time as configured', async () => {
    let running = 0;
    let most = 0;
    const subjects = Array.from({ length: 20 }, (_, index): CaseRecord => ({ event: `s${index}:1` }));
    const handler = async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise(setImmediate);
      running -= 1;
      return { state: undefined };
    };
    const positions = new MemoryPositions<never>();
    const limited = { source, types, positions, handler, onUndecodable() {}, logger: silent, concurrency: 3 };
    assert.deepEqual(await new Consumer(limited).process(batchOf(subjects)), completed);
    assert.equal(most, 3);
    assert.equal(positions.positions.size, 20);
  });
});

test('the log contains no aggregate ids, no payloads and no messages of errors', async () => {
  const logger = new MemoryLogger();
  const secret = 'secret-aggregate';
  const consumer = new Consumer({
    source,
    types,
    logger,
    positions: new MemoryPositions<never>(),
    handler: ({ subject, sequence }) => {
      if (sequence === 2) throw new Error(`${subject} fails`);
      return { state: undefined };
    },
    onUndecodable: ({ bytes }) => {
      if (bytes.length > 30) throw new Error(`${secret} fails`);
    },
  });
  const event = batchOf([
    { event: `${secret}:1` },
    { event: `${secret}:2` },
    { event: `${secret}-2:9` },
    { unknownVersion: `${secret}-3:1` },
    { undecodable: secret },
    { undecodable: `{"specversion":"1.0","${secret}` },
    { unusable: true },
  ]);
  assert.deepEqual(await consumer.process(event), reported(1));
  const log = logger.lines.join('\n');
  assert.doesNotMatch(log, new RegExp(secret));
  for (const position of [1, 2, 3, 4, 5, 6])
    assert.match(log, new RegExp(`"eventId":"shardId-000000000000:${100 + position}"`));
  const { level, message, ...counters } = JSON.parse(logger.lines.at(-1) ?? '');
  assert.deepEqual([level, message], ['INFO', 'Processed a batch']);
  assert.deepEqual(counters, {
    records: 7,
    aggregates: 3,
    applied: 1,
    duplicates: 0,
    skipped: 2,
    unknown: 0,
    undecodable: 1,
    incomplete: 3,
  });
});
