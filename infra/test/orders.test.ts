/** The example's domain: its stack, and that its app is the account's with another domain. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { orders } from '../../examples/orders/infra/domain/orders.ts';
import { fakeArtifacts, FLAGS, template } from './synthesise.ts';

function routes(template: Template): string[] {
  const routes = Object.values(template.findResources('AWS::ApiGatewayV2::Route'));
  return routes.map(({ Properties }) => Properties.RouteKey as string).sort();
}

const ROUTES = [
  '$default',
  'GET /orders/{orderId}',
  'GET /orders/{orderId}/history',
  'GET /{proxy+}',
  'POST /orders',
  'POST /orders/{orderId}/add-lines',
  'POST /orders/{orderId}/cancel',
  'POST /orders/{orderId}/ship',
];

test('orders have a route for each command and query', () => {
  expect(routes(template({}, () => orders))).toEqual(ROUTES);
});

// Another process, which loads aws-cdk-lib again.
test('the app of orders makes the stack of orders', { timeout: 180_000 }, () => {
  const assembly = mkdtempSync(join(tmpdir(), 'millrace-orders-'));
  const infra = join(import.meta.dirname, '..');
  const context = { ...FLAGS, artifacts: fakeArtifacts() };
  execFileSync(process.execPath, ['--import', 'tsx', '../examples/orders/infra/bin/orders.ts'], {
    cwd: infra,
    env: { ...process.env, CDK_OUTDIR: assembly, CDK_CONTEXT_JSON: JSON.stringify(context) },
  });
  const made = JSON.parse(readFileSync(join(assembly, 'Millrace.template.json'), 'utf8')) as object;
  expect(routes(Template.fromJSON(made))).toEqual(ROUTES);
});
