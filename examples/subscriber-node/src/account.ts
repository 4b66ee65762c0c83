import type { DomainEvent } from './events.ts';

/** What the service remembers of an account. */
export interface Account {
  /** In minor units of the currency. */
  readonly balance: number;
  /** A code of ISO 4217. */
  readonly currency: string;
}

/**
 * The account after an event. All versions of an event type have the members that the service needs.
 *
 * @throws Error if an account's first event isn't `AccountCreated`, or the balance has no exact representation.
 */
export function apply(event: DomainEvent, account: Account | undefined): Account {
  if (event.type === 'AccountCreated') return { balance: 0, currency: event.data.currency };
  if (!account) throw new Error('The first event of the account is not AccountCreated');
  const balance = account.balance + (event.type === 'BalanceCredited' ? event.data.amount : -event.data.amount);
  if (!Number.isSafeInteger(balance)) throw new RangeError('The balance is not an integer up to 2^53-1');
  return { ...account, balance };
}

/** Whether a withdrawal brings the balance from at or above the threshold to below it. */
export function becomesLow(
  event: DomainEvent,
  before: Account | undefined,
  after: Account,
  threshold: number,
): boolean {
  const wasEnough = before !== undefined && before.balance >= threshold;
  return event.type === 'BalanceWithdrawn' && wasEnough && after.balance < threshold;
}
