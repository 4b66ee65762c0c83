import {
  type AttributeValue,
  GetItemCommand,
  type GetItemCommandOutput,
  type TransactWriteItem,
  TransactWriteItemsCommand,
  type TransactWriteItemsCommandOutput,
  UpdateItemCommand,
  type UpdateItemCommandOutput,
} from '@aws-sdk/client-dynamodb';
import { type Position, type Positions, type SaveResult, START } from './positions.ts';

/** What {@link DynamoDBPositions} uses of `DynamoDBClient`. */
export interface DynamoDBSender {
  send(command: GetItemCommand): Promise<GetItemCommandOutput>;
  send(command: UpdateItemCommand): Promise<UpdateItemCommandOutput>;
  send(command: TransactWriteItemsCommand): Promise<TransactWriteItemsCommandOutput>;
}

/** The condition of a handler's write failed, although the position was the one that was read. Nothing was saved. */
export class WriteConditionError extends Error {
  override readonly name = 'WriteConditionError';
}

/**
 * The most writes of a save: a transaction has up to 100 items, and the position is one of them.
 * https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
 */
const MAX_WRITES = 99;

/**
 * Positions in a table of DynamoDB, whose partition key is `Subject` (S). It has no sort key.
 *
 * The writes of a handler are entries of `TransactWriteItems` for tables of the same account and region. One save is
 * one transaction, or an `UpdateItem` if there are no writes. The function's role needs `dynamodb:GetItem` and
 * `UpdateItem` on the table, and the permissions of its writes (`dynamodb:PutItem`, …). The client retries calls that
 * are throttled as a whole; an error after that makes the aggregate incomplete. It doesn't retry a transaction that is
 * cancelled because one of its items is throttled: the consumer does.
 */
export class DynamoDBPositions implements Positions<TransactWriteItem> {
  readonly maxWrites = MAX_WRITES;
  readonly #client: DynamoDBSender;
  readonly #tableName: string;

  constructor(client: DynamoDBSender, tableName: string) {
    this.#client = client;
    this.#tableName = tableName;
  }

  async read(subject: string): Promise<Position> {
    const { Item } = await this.#client.send(
      new GetItemCommand({ TableName: this.#tableName, Key: { Subject: { S: subject } }, ConsistentRead: true }),
    );
    return Item ? readItem(Item) : START;
  }

  async save(
    subject: string,
    before: Position,
    after: Position,
    writes: readonly TransactWriteItem[],
  ): Promise<SaveResult> {
    const update = { TableName: this.#tableName, Key: { Subject: { S: subject } }, ...updateOf(before, after) };
    try {
      if (writes.length === 0) await this.#client.send(new UpdateItemCommand(update));
      else await this.#client.send(new TransactWriteItemsCommand({ TransactItems: [{ Update: update }, ...writes] }));
      return 'saved';
    } catch (error) {
      if (isMoved(error)) return 'moved';
      if (codesOf(error).includes('ConditionalCheckFailed')) {
        throw new WriteConditionError("The condition of a handler's write failed", { cause: error });
      }
      throw error;
    }
  }
}

/** The item's form is documented in `consumers/README.md` of Millrace, and the same in all languages. */
function readItem(item: Record<string, AttributeValue>): Position {
  const sequence = item.Sequence === undefined ? 0 : readNumber(item, 'Sequence');
  const state = item.State === undefined ? {} : { state: readString(item, 'State') };
  if (item.Missing === undefined && item.SeenThrough === undefined) return { sequence, ...state };
  // Nothing depends on the time, so an item without it is accepted.
  const since = item.GapSince?.S === undefined ? {} : { since: item.GapSince.S };
  const gap = { missing: readNumber(item, 'Missing'), seenThrough: readNumber(item, 'SeenThrough'), ...since };
  return { sequence, ...state, gap };
}

function readNumber(item: Record<string, AttributeValue>, name: string): number {
  const value = Number(item[name]?.N ?? 'absent');
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new TypeError(`The position's attribute ${name} is not an integer from 1 to 2^53-1`);
  }
  return value;
}

function readString(item: Record<string, AttributeValue>, name: string): string {
  const value = item[name]?.S;
  if (value === undefined) throw new TypeError(`The position's attribute ${name} is not a string`);
  return value;
}

/** Another invocation that only records a gap moves `SeenThrough` and not `Sequence`, so both are compared. */
function updateOf(before: Position, after: Position) {
  const conditions: string[] = [];
  const values: Record<string, AttributeValue> = {};
  const expect = (name: string, alias: string, number: number | undefined): void => {
    if (number === undefined) {
      conditions.push(`attribute_not_exists(#${name})`);
    } else {
      conditions.push(`#${name} = ${alias}`);
      values[alias] = { N: String(number) };
    }
  };
  expect('Sequence', ':applied', before.sequence === 0 ? undefined : before.sequence);
  expect('SeenThrough', ':seenThrough', before.gap?.seenThrough);

  const set: string[] = [];
  const remove: string[] = [];
  const attributes: [string, AttributeValue | undefined][] = [
    ['Sequence', after.sequence === 0 ? undefined : { N: String(after.sequence) }],
    ['State', after.state === undefined ? undefined : { S: after.state }],
    ['Missing', after.gap && { N: String(after.gap.missing) }],
    ['SeenThrough', after.gap && { N: String(after.gap.seenThrough) }],
    ['GapSince', after.gap?.since === undefined ? undefined : { S: after.gap.since }],
  ];
  for (const [name, value] of attributes) {
    if (value === undefined) {
      remove.push(`#${name}`);
    } else {
      set.push(`#${name} = :new${name}`);
      values[`:new${name}`] = value;
    }
  }
  return {
    ConditionExpression: conditions.join(' AND '),
    // Each save sets an attribute: the sequence or a gap.
    UpdateExpression: `SET ${set.join(', ')}${remove.length > 0 ? ` REMOVE ${remove.join(', ')}` : ''}`,
    ExpressionAttributeNames: Object.fromEntries(attributes.map(([name]) => [`#${name}`, name])),
    ExpressionAttributeValues: values,
  };
}

/** Why another attempt may succeed: another transaction is in progress, or a table or partition is throttled. */
const TRANSIENT = ['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded'];

/**
 * Whether another invocation moved the position, or another attempt may succeed. The position is the first item of
 * a transaction.
 */
function isMoved(error: unknown): boolean {
  const { name } = error as Error;
  if (name === 'ConditionalCheckFailedException' || name === 'TransactionConflictException') return true;
  const codes = codesOf(error);
  return codes[0] === 'ConditionalCheckFailed' || codes.some((code) => TRANSIENT.includes(code ?? ''));
}

/** Why a transaction was cancelled, for each of its items. */
function codesOf(error: unknown): (string | undefined)[] {
  const { name, CancellationReasons: reasons } = error as Error & { CancellationReasons?: { Code?: string }[] };
  return name === 'TransactionCanceledException' ? (reasons ?? []).map(({ Code }) => Code) : [];
}
