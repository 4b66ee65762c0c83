/** The stack of a domain that is not the bank account: what the app deploys knows no domain but its own. */
import { Match, type Template } from 'aws-cdk-lib/assertions';
import { beforeAll, expect, test } from 'vitest';
import type { Domain } from '../lib/domain.ts';
import { template } from './synthesise.ts';

/** The type of the column `data`. */
const FIELDS =
  'struct<orderid:string,sequence:bigint,items:array<struct<sku:string,count:bigint,packing:struct<gift:boolean>>>>';

const ORDERS: Domain = {
  collection: 'orders',
  aggregate: 'order',
  id: 'orderId',
  opens: 'place',
  commands: ['add-item'],
  history: 'steps',
  lake: {
    columns: [
      { name: 'id', type: 'string' },
      { name: 'data', type: FIELDS },
      { name: 'data_base64', type: 'string' },
    ],
    data: [
      { name: 'orderid', type: 'string' },
      { name: 'sequence', type: 'bigint' },
      {
        name: 'items',
        type: 'array<struct<sku:string,count:bigint,packing:struct<gift:boolean>>>',
        fields: [
          { name: 'sku', type: 'string' },
          { name: 'count', type: 'bigint' },
          { name: 'packing', type: 'struct<gift:boolean>', fields: [{ name: 'gift', type: 'boolean' }] },
        ],
      },
    ],
    partitions: [{ name: 'dt', type: 'string' }],
  },
  environment: { WAREHOUSE: 'north' },
  outputs: { Warehouse: { value: 'north', description: 'Where orders are packed' } },
};

let orders: Template;
beforeAll(() => {
  orders = template({}, () => ORDERS);
});

const of = (type: string) => Object.values(orders.findResources(type)) as { Properties: Record<string, any> }[];

test('nothing in it is named after accounts', () => {
  const neutral = JSON.stringify(orders.toJSON())
    // AWS accounts.
    .replace(/AWS::AccountId|aws:SourceAccount/g, '')
    // Ids that stay: of tables that contain data, and of an alarm that the runbook describes.
    .replace(/Projection(Accounts|Transactions)[0-9A-F]{8}/g, '');
  expect(neutral).not.toMatch(/account|transaction|currenc|balance|credit|withdraw/i);
});

test('its commands and queries are the routes, each with a name of its own', () => {
  const routes = Object.entries(orders.findResources('AWS::ApiGatewayV2::Route')).map(([id, { Properties }]) => [
    id.replace(/^HttpApi|Route[0-9A-F]{8}$/g, ''),
    Properties.RouteKey,
  ]);
  expect(Object.fromEntries(routes)).toEqual({
    Commands: '$default',
    Place: 'POST /orders',
    AddItem: 'POST /orders/{orderId}/add-item',
    Queries: 'GET /{proxy+}',
    Order: 'GET /orders/{orderId}',
    Steps: 'GET /orders/{orderId}/steps',
  });
});

test('its settings are in the environment of writer, translator and reconciler', () => {
  const set = of('AWS::Lambda::Function').filter((it) => it.Properties.Environment.Variables.WAREHOUSE === 'north');
  expect(set.map((it) => it.Properties.Description.split(' ')[0]).sort()).toEqual(['Decides', 'Finds', 'Turns']);
  orders.hasOutput('Warehouse', { Value: 'north' });
});

test('the lake has columns for its public data, in the table and in the view', () => {
  for (const tableType of ['EXTERNAL_TABLE', 'VIRTUAL_VIEW']) {
    orders.hasResourceProperties('AWS::Glue::Table', {
      TableInput: {
        TableType: tableType,
        StorageDescriptor: { Columns: Match.arrayWith([{ Name: 'data', Type: FIELDS }]) },
      },
    });
  }
  const [view] = of('AWS::Glue::Table').filter((it) => it.Properties.TableInput.TableType === 'VIRTUAL_VIEW');
  const encoded = /Presto View: (\S+)/.exec(view!.Properties.TableInput.ViewOriginalText)![1]!;
  expect(Buffer.from(encoded, 'base64').toString()).toContain(
    'row(orderid varchar, sequence bigint, ' +
      'items array(row(sku varchar, count bigint, packing row(gift boolean))))',
  );
});
