/** The orders of a shop: the domain whose functions the app deploys. */
import type { Domain } from 'millrace-infra';

/** Orders have no settings. A test compares the names with those of the Rust crate (`orders_agreement.rs`). */
export const orders: Domain = {
  collection: 'orders',
  aggregate: 'order',
  id: 'orderId',
  opens: 'place',
  commands: ['add-lines', 'ship', 'cancel'],
  history: 'history',
  lake: [
    { name: 'units', type: 'bigint' },
    { name: 'reason', type: 'string' },
  ],
  environment: {},
  outputs: {},
};
