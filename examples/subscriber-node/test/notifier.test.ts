import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { PutItemCommand, TransactWriteItem } from '@aws-sdk/client-dynamodb';
import { type Logger, MemoryPositions } from 'millrace-consumer';
import { forEachSeed, type HistoryEvent, HostileFeed } from 'millrace-consumer/testing';
import { type Account, apply, becomesLow } from '../src/account.ts';
import { readConfig } from '../src/config.ts';
import { type DomainEvent, source } from '../src/events.ts';
import { makeNotifier } from '../src/notifier.ts';
import { undecodableTable } from '../src/undecodable.ts';

const environment = {
  POSITIONS_TABLE: 'positions',
  NOTIFICATIONS_TABLE: 'notifications',
  UNDECODABLE_TABLE: 'undecodable',
};
const THRESHOLD = 10_000;
const silent: Logger = { info() {}, warn() {}, error() {} };

type AccountEvent = HistoryEvent<DomainEvent>;
const created = (accountId: string, currency = 'EUR'): AccountEvent => ({
  type: 'AccountCreated',
  version: 1,
  data: { accountId, currency },
});
const credited = (accountId: string, amount: number): AccountEvent => ({
  type: 'BalanceCredited',
  version: 1,
  data: { accountId, amount, currency: 'EUR' },
});
const withdrawn = (accountId: string, amount: number): AccountEvent => ({
  type: 'BalanceWithdrawn',
  version: 1,
  data: { accountId, amount, currency: 'EUR' },
});
const withdrawn2 = (accountId: string, amount: number): AccountEvent => ({
  type: 'BalanceWithdrawn',
  version: 2,
  data: { accountId, amount, currency: 'EUR', channel: 'atm' },
});

const histories = {
  thrifty: [created('thrifty'), credited('thrifty', 50_000), withdrawn('thrifty', 40_000)],
  spender: [
    created('spender'),
    credited('spender', 12_000),
    withdrawn('spender', 3_000),
    withdrawn2('spender', 1_000),
    credited('spender', 2_000),
    withdrawn2('spender', 1),
    withdrawn('spender', 1),
    credited('spender', 20_000),
    withdrawn2('spender', 29_998),
  ],
  poor: [created('poor'), credited('poor', 9_999), withdrawn('poor', 9_999)],
};

/** The balances at which the histories become low. */
const LOW: Record<string, number[]> = { thrifty: [], spender: [9_000, 9_999, 0], poor: [] };

function describe(write: TransactWriteItem): string {
  const { Account, Sequence, Balance, Currency, Threshold } = write.Put?.Item ?? {};
  return [write.Put?.TableName, Account?.S, Sequence?.N, Balance?.N, Currency?.S, Threshold?.N].join(' ');
}

/** The notifications that the events require, from a model of its own. */
function expectedNotifications(expected: ReadonlyMap<string, readonly DomainEvent[]>): string[] {
  return [...expected].flatMap(([account, events]) => {
    let balance = 0;
    return events.flatMap((event) => {
      const before = balance;
      if (event.type === 'BalanceCredited') balance += event.data.amount;
      if (event.type !== 'BalanceWithdrawn') return [];
      balance -= event.data.amount;
      const isLow = before >= THRESHOLD && balance < THRESHOLD;
      return isLow ? [`notifications ${account} ${event.sequence} ${balance} EUR ${THRESHOLD}`] : [];
    });
  });
}

suite('the notifier writes each notification once', () => {
  for (const gaps of [false, true]) {
    test(`whatever Kinesis and Lambda do, ${gaps ? 'with' : 'without'} gaps`, async () => {
      await forEachSeed(200, async (seed) => {
        const feed = new HostileFeed<DomainEvent>({ seed, source, histories, gaps });
        const positions = new MemoryPositions<TransactWriteItem>();
        const undecodable = new Set<string>();
        const notifier = makeNotifier(readConfig(environment), {
          positions: feed.wrap(positions),
          storeUndecodable: feed.wrap(async ({ bytes }) => {
            undecodable.add(Buffer.from(bytes).toString('hex'));
          }),
          logger: silent,
        });
        await feed.run((batch) => notifier.process(batch), { recordedGaps: () => positions.gaps });

        const notifications = positions.writes.map(describe);
        assert.deepEqual(notifications.sort(), expectedNotifications(feed.expected).sort());
        assert.equal(notifications.length, Object.values(LOW).flat().length);
        for (const [account, sequence] of feed.expectedPositions) {
          assert.equal((await positions.read(account)).sequence, sequence);
        }
        const expected = feed.expectedUndecodable.map((bytes) => Buffer.from(bytes).toString('hex'));
        assert.deepEqual([...undecodable].sort(), [...new Set(expected)].sort());
      });
    });
  }
});

suite('a balance becomes low', () => {
  const event = (change: AccountEvent) => change as unknown as DomainEvent;
  const before = (balance: number): Account => ({ balance, currency: 'EUR' });
  const isLow = (change: AccountEvent, balance: number) =>
    becomesLow(event(change), before(balance), apply(event(change), before(balance)), THRESHOLD);

  test('from the threshold, and from above it', () => {
    assert.equal(isLow(withdrawn('a', 1), THRESHOLD), true);
    assert.equal(isLow(withdrawn2('a', THRESHOLD), THRESHOLD + 5), true);
  });
  test('not at the threshold', () => assert.equal(isLow(withdrawn('a', 5), THRESHOLD + 5), false));
  test('not if it was low before', () => assert.equal(isLow(withdrawn('a', 1), THRESHOLD - 1), false));
  test('not by a credit', () => assert.equal(isLow(credited('a', 1), THRESHOLD - 2), false));
  test('and is exact up to 2^53-1', () => {
    const most = Number.MAX_SAFE_INTEGER;
    assert.equal(apply(event(credited('a', most)), before(0)).balance, 9007199254740991);
    assert.throws(() => apply(event(credited('a', most)), before(1)), RangeError);
  });
  test('only of an account that was created', () => {
    assert.throws(
      () => apply(event(credited('a', 1)), undefined),
      /The first event of the account is not AccountCreated/,
    );
  });
});

async function storedItem(bytes: Uint8Array): Promise<unknown> {
  const inputs: unknown[] = [];
  const send = async ({ input }: PutItemCommand) => inputs.push(input);
  const store = undecodableTable({ send } as unknown as Parameters<typeof undecodableTable>[0], 'undecodable');
  await store({ position: 0, eventId: 'shardId-000000000000:100', reason: 'the record is not JSON', bytes });
  assert.equal(inputs.length, 1);
  return inputs[0];
}

suite('an undecodable record', () => {
  const item = (data: Uint8Array, length: string) => ({
    TableName: 'undecodable',
    Item: {
      StreamId: { S: 'shardId-000000000000:100' },
      Reason: { S: 'the record is not JSON' },
      Data: { B: data },
      Length: { N: length },
    },
  });

  test('is an item with its id, the reason, the bytes and their number', async () => {
    const bytes = new Uint8Array([1, 2]);
    assert.deepEqual(await storedItem(bytes), item(bytes, '2'));
    const most = new Uint8Array(300_000).fill(7);
    assert.deepEqual(await storedItem(most), item(most, '300000'));
  });

  test('that an item of DynamoDB cannot have is cut off', async () => {
    const bytes = new Uint8Array(1_048_576).map((_, index) => index % 251);
    assert.deepEqual(await storedItem(bytes), item(bytes.slice(0, 300_000), '1048576'));
  });
});

suite('the configuration', () => {
  test('has a default threshold', () => assert.equal(readConfig(environment).lowBalance, THRESHOLD));
  test('reads the threshold', () => assert.equal(readConfig({ ...environment, LOW_BALANCE: '5' }).lowBalance, 5));

  for (const value of ['', '0', '-1', '1.5', '1e3', '9007199254740992', 'x']) {
    test(`refuses the threshold '${value}'`, () => {
      assert.throws(() => readConfig({ ...environment, LOW_BALANCE: value }), /LOW_BALANCE is not an integer/);
    });
  }

  for (const name of Object.keys(environment)) {
    test(`names ${name} if it is missing`, () => {
      for (const value of [undefined, '']) {
        const expected = new RegExp(`The environment variable ${name} is missing`);
        assert.throws(() => readConfig({ ...environment, [name]: value }), expected);
      }
    });
  }
});
