/** A small part of DynamoDB in memory: the three calls of the package, with the expressions that occur in the tests. */
import {
  type AttributeValue,
  GetItemCommand,
  type Put,
  type TransactWriteItem,
  type TransactWriteItemsCommand,
  type Update,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';

type Item = Record<string, AttributeValue>;
type Expressions = Partial<
  Pick<Update, 'ConditionExpression' | 'ExpressionAttributeNames' | 'ExpressionAttributeValues' | 'UpdateExpression'>
>;

const MAX_TRANSACTION = 100;

export class FakeDynamoDB {
  /** The items of each table, by key. */
  readonly tables = new Map<string, Map<string, Item>>();
  /** The names of the commands in their order. */
  readonly calls: string[] = [];
  readonly #keys: Record<string, string[]>;

  /** @param keys - The key attributes of each table. */
  constructor(keys: Record<string, string[]>) {
    this.#keys = keys;
    for (const table of Object.keys(keys)) this.tables.set(table, new Map());
  }

  // The commands have different outputs.
  async send(command: GetItemCommand | UpdateItemCommand | TransactWriteItemsCommand): Promise<any> {
    this.calls.push(command.constructor.name);
    await Promise.resolve();
    const $metadata = {};
    if (command instanceof GetItemCommand) {
      if (!command.input.ConsistentRead) throw failure('ValidationException', 'the read is not consistent');
      const item = this.#table(command.input).get(this.#keyOf(command.input, command.input.Key ?? {}));
      return { $metadata, Item: item && structuredClone(item) };
    }
    if (command instanceof UpdateItemCommand) {
      const write = this.#prepare({ Update: command.input as Update });
      if (!write.isAllowed) throw failure('ConditionalCheckFailedException', 'The conditional request failed');
      write.execute();
      return { $metadata };
    }
    const items = command.input.TransactItems ?? [];
    if (items.length < 1 || items.length > MAX_TRANSACTION) throw failure('ValidationException', '1 to 100 items');
    const writes = items.map((item) => this.#prepare(item));
    if (new Set(writes.map(({ id }) => id)).size < writes.length) {
      throw failure('ValidationException', 'Transaction request cannot include multiple operations on one item');
    }
    if (writes.some(({ isAllowed }) => !isAllowed)) {
      throw Object.assign(failure('TransactionCanceledException', 'Transaction cancelled'), {
        CancellationReasons: writes.map(({ isAllowed }) => ({ Code: isAllowed ? 'None' : 'ConditionalCheckFailed' })),
      });
    }
    for (const write of writes) write.execute();
    return { $metadata };
  }

  /** The items of a table. */
  items(table: string): Item[] {
    return [...(this.tables.get(table)?.values() ?? [])];
  }

  #table({ TableName: name = '' }: { TableName?: string | undefined }): Map<string, Item> {
    const table = this.tables.get(name);
    if (!table) throw failure('ResourceNotFoundException', `no table ${name}`);
    return table;
  }

  #keyOf({ TableName: name = '' }: { TableName?: string | undefined }, item: Item): string {
    return JSON.stringify((this.#keys[name] ?? []).map((attribute) => item[attribute]));
  }

  #prepare({ Put, Update }: TransactWriteItem): { id: string; isAllowed: boolean; execute: () => void } {
    const input: Put | Update | undefined = Put ?? Update;
    if (!input) throw failure('ValidationException', 'only Put and Update');
    const table = this.#table(input);
    const key = this.#keyOf(input, Put?.Item ?? Update?.Key ?? {});
    const before = table.get(key) ?? {};
    return {
      id: `${input.TableName} ${key}`,
      isAllowed: isAllowed(before, input),
      execute: () => {
        table.set(key, structuredClone(Put?.Item ?? updated({ ...Update?.Key, ...before }, input)));
      },
    };
  }
}

function isAllowed(item: Item, expressions: Expressions): boolean {
  if (expressions.ConditionExpression === undefined) return true;
  return expressions.ConditionExpression.split(' AND ').every((condition) => {
    const absent = /^attribute_not_exists\((\S+)\)$/.exec(condition)?.[1];
    if (absent !== undefined) return item[nameOf(absent, expressions)] === undefined;
    const [, name = '', value = ''] = /^(\S+) = (\S+)$/.exec(condition) ?? [];
    const expected = expressions.ExpressionAttributeValues?.[value];
    if (!expected) throw failure('ValidationException', condition);
    return JSON.stringify(item[nameOf(name, expressions)]) === JSON.stringify(expected);
  });
}

function updated(item: Item, expressions: Expressions): Item {
  const [, set = '', remove = ''] = /^SET (.*?)(?: REMOVE (.*))?$/.exec(expressions.UpdateExpression ?? '') ?? [];
  const result = { ...item };
  for (const action of set.split(', ')) {
    const [name = '', value = ''] = action.split(' = ');
    const attribute = expressions.ExpressionAttributeValues?.[value];
    if (!attribute) throw failure('ValidationException', action);
    result[nameOf(name, expressions)] = attribute;
  }
  for (const name of remove.split(', ').filter((name) => name !== '')) delete result[nameOf(name, expressions)];
  return result;
}

function nameOf(alias: string, { ExpressionAttributeNames: names }: Expressions): string {
  const name = names?.[alias];
  if (name === undefined) throw failure('ValidationException', alias);
  return name;
}

function failure(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}
