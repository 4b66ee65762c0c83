import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';
import { type Change, Consumer, type Logger, type Positions, type UndecodableRecord } from 'millrace-consumer';
import { type Account, apply, becomesLow } from './account.ts';
import type { Config } from './config.ts';
import { type DomainEvent, source, types } from './events.ts';

/** What the notifier uses. A test passes services in memory. */
export interface Services {
  readonly positions: Positions<TransactWriteItem>;
  /** Stores an undecodable record. It may get the same record more than once. */
  readonly storeUndecodable: (record: UndecodableRecord) => Promise<void>;
  readonly logger?: Logger;
}

/** The consumer that keeps each account's balance, and writes a notification when a withdrawal makes it low. */
export function makeNotifier(config: Config, { storeUndecodable, ...services }: Services) {
  return new Consumer({
    ...services,
    source,
    types,
    onUndecodable: storeUndecodable,
    handler: (event, account: Account | undefined) => notify(event, account, config),
  });
}

function notify(
  event: DomainEvent,
  before: Account | undefined,
  { lowBalance, notificationsTable }: Config,
): Change<Account, TransactWriteItem> {
  const after = apply(event, before);
  if (!becomesLow(event, before, after, lowBalance)) return { state: after };
  // Without a condition: after a loss of the positions table, the history writes the same items again.
  const Item = {
    Account: { S: event.subject },
    Sequence: { N: String(event.sequence) },
    Balance: { N: String(after.balance) },
    Currency: { S: after.currency },
    Threshold: { N: String(lowBalance) },
  };
  return { state: after, writes: [{ Put: { TableName: notificationsTable, Item } }] };
}
