/** The orders of a shop: the domain whose functions the app deploys. */
import type { Domain } from 'millrace-infra';

/** Orders have no settings. `orders_agreement.rs` compares this description with the Rust crate. */
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
