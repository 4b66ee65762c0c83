/** The orders of a shop: the domain whose functions the app deploys. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Domain, LakeColumns } from 'millrace-infra';

/** The columns of the lake, generated from the Rust crate by `orders contract`. */
const LAKE = JSON.parse(readFileSync(join(import.meta.dirname, '../../contracts/lake.json'), 'utf8')) as LakeColumns;

/** The queries of the lake. */
const QUERIES = join(import.meta.dirname, '../../domain/athena');

/** Orders have no settings. `orders_agreement.rs` compares this description with the Rust crate. */
export const orders: Domain = {
  collection: 'orders',
  aggregate: 'order',
  id: 'orderId',
  opens: 'place',
  commands: ['add-lines', 'ship', 'cancel'],
  history: 'history',
  lake: LAKE,
  queries: QUERIES,
  environment: {},
  outputs: {},
};
