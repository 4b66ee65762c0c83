/**
 * The app of orders, with the constructs, the packages and the feature flags of the folder `infra/`. Run this in
 * `infra/` at the root of the repository:
 *
 *     npx cdk deploy --app "node --import tsx ../examples/orders/infra/bin/orders.ts" -c artifacts=FOLDER
 *
 * FOLDER contains `<function>/bootstrap` for each function, such as `writer/bootstrap`: the binary
 * `orders-writer`.
 */
import { makeApp } from '../../../../infra/lib/app.ts';
import { orders } from '../domain/orders.ts';

makeApp(() => orders);
