/** The stack of the example's domain. `tests/tests/orders.rs` deploys it, from the packed constructs. */
import type { Template } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { orders } from '../../examples/orders/infra/domain/orders.ts';
import { template } from './synthesise.ts';

function routes(template: Template): string[] {
  const routes = Object.values(template.findResources('AWS::ApiGatewayV2::Route'));
  return routes.map(({ Properties }) => Properties.RouteKey as string).sort();
}

test('orders have a route for each command and query', () => {
  expect(routes(template({}, () => orders))).toEqual([
    '$default',
    'GET /orders/{orderId}',
    'GET /orders/{orderId}/history',
    'GET /{proxy+}',
    'POST /orders',
    'POST /orders/{orderId}/add-lines',
    'POST /orders/{orderId}/cancel',
    'POST /orders/{orderId}/ship',
  ]);
});
