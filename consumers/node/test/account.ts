/** A domain for the tests of the feed: each event adds to a balance and writes one item. */
import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';
import type { Change, Event, EventOf } from '../src/index.ts';
import type { HistoryEvent } from '../src/testing/index.ts';
import { cases, type types } from './cases.ts';

export type AccountEvent = EventOf<typeof types>;

export interface Balance {
  balance: number;
}

export const { source } = cases;

/** What an event does: a credit adds and a withdrawal subtracts. */
export function apply(event: AccountEvent, state: Balance | undefined): Balance {
  const balance = state?.balance ?? 0;
  switch (event.type) {
    case 'AccountCreated':
      return { balance };
    case 'BalanceCredited':
      return { balance: balance + event.data.amount };
    case 'BalanceWithdrawn':
      return { balance: balance - event.data.amount };
  }
}

/** One item per event with the balance after it. The condition fails if the event acts twice. */
export function toItem(event: AccountEvent, state: Balance | undefined): Change<Balance, TransactWriteItem> {
  const after = apply(event, state);
  const Item = { Id: { S: event.id }, Balance: { N: String(after.balance) } };
  const names = { ExpressionAttributeNames: { '#Id': 'Id' } };
  return {
    state: after,
    writes: [{ Put: { TableName: 'effects', Item, ConditionExpression: 'attribute_not_exists(#Id)', ...names } }],
  };
}

/** The effect of each event that has to act, per aggregate: the event's id and the balance after it. */
export function effects(expected: ReadonlyMap<string, readonly AccountEvent[]>): string[] {
  return [...expected.values()].flatMap((events) => {
    let state: Balance | undefined;
    return events.map((event) => {
      state = apply(event, state);
      return `${event.id} ${state.balance}`;
    });
  });
}

/** Three accounts: one is long, one has a single event, and one has an id that needs escaping. */
export const histories: Record<string, HistoryEvent<AccountEvent>[]> = {
  long: history(9),
  single: history(1),
  'kontó:1"': history(4),
};

/** More accounts, so that a seed has several gaps. */
export const manyHistories: Record<string, HistoryEvent<AccountEvent>[]> = {
  ...histories,
  ...Object.fromEntries(Array.from({ length: 5 }, (_, index) => [`account-${index}`, history(6)])),
};

function history(length: number): HistoryEvent<AccountEvent>[] {
  return Array.from({ length }, (_, index): HistoryEvent<AccountEvent> => {
    const currency = 'EUR';
    if (index === 0) return { type: 'AccountCreated', version: 1, data: { currency } };
    const type = index % 3 === 2 ? 'BalanceWithdrawn' : 'BalanceCredited';
    return { type, version: 1, data: { amount: index * 10, currency } };
  });
}

/** The order between aggregates doesn't matter. */
export function bySubject(ids: readonly string[]): string[] {
  const subject = (effect: string) => effect.slice(0, effect.lastIndexOf(':'));
  return ids
    .map((id, index) => ({ id, index }))
    .sort((a, b) => subject(a.id).localeCompare(subject(b.id)) || a.index - b.index)
    .map(({ id }) => id);
}

export type { Event };
