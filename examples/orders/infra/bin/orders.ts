/**
 * The app of orders. Before a deployment to AWS, build the functions in the root of the repository:
 *
 *     cargo lambda build --release --arm64
 *     cd infra && npx cdk deploy
 */
import { makeApp } from 'millrace-infra';
import { orders } from '../domain/orders.ts';

makeApp(() => orders);
