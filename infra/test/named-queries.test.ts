/** The domain's queries of the lake as named queries of Athena. */
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { orders } from '../../examples/orders/infra/domain/orders.ts';
import { accounts } from '../domain/accounts.ts';
import type { Domain } from '../lib/domain.ts';
import { readQueries } from '../lib/named-queries.ts';
import type { Lookup } from '../lib/settings.ts';
import { template } from './synthesise.ts';

function folder(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-queries-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

const withQueries = (queries: string) => (lookup: Lookup) => ({ ...accounts(lookup), queries });
const named = (of: Template) =>
  Object.values(of.findResources('AWS::Athena::NamedQuery')) as {
    Properties: Record<string, unknown>;
    DependsOn: string[];
  }[];

const BALANCES = '-- Every balance. \n--\n-- parameter at: time\nSELECT 1 WHERE time <= ? /* at */\n';
const FOLDER = folder({
  'balances.sql': BALANCES,
  'a-day.sql': '--What happened.\nSELECT 2',
  'README.md': '# No query',
});

test('each SQL file is a named query with its name, its first comment line and its text', () => {
  const of = template({}, withQueries(FOLDER));
  const [group] = Object.entries(of.findResources('AWS::Athena::WorkGroup'));
  const [database] = Object.entries(of.findResources('AWS::Glue::Database'));
  const shared = { WorkGroup: group![1].Properties.Name, Database: database![1].Properties.DatabaseInput.Name };
  expect(named(of).map(({ Properties }) => Properties)).toEqual([
    { ...shared, Name: 'a-day', Description: 'What happened.', QueryString: '--What happened.\nSELECT 2' },
    { ...shared, Name: 'balances', Description: 'Every balance.', QueryString: BALANCES },
  ]);
  for (const { DependsOn } of named(of)) expect(DependsOn.sort()).toEqual([database![0], group![0]].sort());
});

test('the stage local and a domain without queries have no named query', () => {
  expect(named(template({ stage: 'local' }, withQueries(FOLDER)))).toEqual([]);
  const { queries, ...without } = accounts(() => undefined) as Domain;
  expect(queries).toBeDefined();
  expect(named(template({}, () => without))).toEqual([]);
});

test.each([
  ['accounts', accounts(() => undefined)],
  ['orders', orders],
])('the queries of %s are read', (_, domain) => {
  const files = readdirSync(domain.queries!).filter((file) => file.endsWith('.sql'));
  expect(readQueries(domain.queries!).map(({ name }) => `${name}.sql`)).toEqual(files.sort());
});

describe('what Athena or a reader could not use is refused, with the name of the file', () => {
  test.each<[string, string, string, RegExp]>([
    ['without a description', 'a.sql', 'SELECT 1', /a\.sql: the first line must be a comment/],
    ['with an empty description', 'a.sql', '--\n-- Text.\nSELECT 1', /a\.sql: the first line must be a comment/],
    ['with a space', 'a b.sql', '-- Text.', /a b\.sql: the name must be words/],
    ['with a capital', 'A.sql', '-- Text.', /A\.sql: the name must be words/],
    ['with a long name', `${'a'.repeat(129)}.sql`, '-- Text.', /the name has 129 bytes, but Athena accepts 128/],
    ['with a long description', 'a.sql', `-- ${'ä'.repeat(513)}`, /the description has 1026 bytes.* accepts 1024/],
    ['with a long text', 'a.sql', `-- Text.\n${'x'.repeat(262_136)}`, /the text has 262145 bytes.* accepts 262144/],
  ])('a file %s', (_, name, text, message) => {
    expect(() => readQueries(folder({ [name]: text }))).toThrow(message);
  });

  test('a folder that does not exist, or is none', () => {
    const missing = join(FOLDER, 'missing');
    expect(() => template({}, withQueries(missing))).toThrow(/"queries" is ".*missing", but there is no such folder/);
    expect(() => readQueries(join(FOLDER, 'README.md'))).toThrow(/there is no such folder/);
  });

  test('but not an empty folder', () => {
    const empty = join(FOLDER, 'empty');
    mkdirSync(empty);
    expect(readQueries(empty)).toEqual([]);
  });
});
