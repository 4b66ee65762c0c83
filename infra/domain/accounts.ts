/** The bank account: the domain whose functions the app deploys. The code in `../lib` doesn't depend on it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Domain, LakeColumns } from '../lib/domain.ts';
import { type Lookup, refused } from '../lib/settings.ts';

/**
 * The ISO 4217 codes that the functions accept. A test compares the file with their list
 * (`tests/tests/infra.rs`), because functions with another default currency fail at start.
 */
const CURRENCIES = JSON.parse(readFileSync(join(import.meta.dirname, 'currencies.json'), 'utf8')) as string[];

/** The columns of the lake, generated from the Rust crate. */
const LAKE = JSON.parse(readFileSync(join(import.meta.dirname, '../../contracts/lake.json'), 'utf8')) as LakeColumns;

/** The queries of the lake. */
const QUERIES = join(import.meta.dirname, '../../domain/athena');

/**
 * The domain with its one setting. A test compares the names with those of the Rust crate
 * (`tests/tests/agreement.rs`).
 *
 * `defaultCurrency`: ISO 4217 code of an account that is opened without one, and of rows older than the
 * attribute. Default `EUR`. On a table that contains such rows it must not change.
 */
export function accounts(lookup: Lookup): Domain {
  const defaultCurrency = currency(lookup);
  return {
    collection: 'accounts',
    aggregate: 'account',
    id: 'accountId',
    opens: 'open',
    commands: ['credit', 'withdraw'],
    history: 'transactions',
    viewAt: 'balance',
    lake: LAKE,
    queries: QUERIES,
    environment: { DEFAULT_CURRENCY: defaultCurrency },
    outputs: {
      DefaultCurrency: { value: defaultCurrency, description: 'Currency of accounts that are opened without one' },
    },
  };
}

function currency(lookup: Lookup): string {
  const value = lookup('defaultCurrency') ?? 'EUR';
  if (typeof value !== 'string' || !CURRENCIES.includes(value)) {
    throw refused('defaultCurrency', value, 'a currency code that ISO 4217 lists, three capital letters such as EUR');
  }
  return value;
}
