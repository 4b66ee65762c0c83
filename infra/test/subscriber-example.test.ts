/** The stack of examples/subscriber-infra, for each of its services. The packed constructs aren't needed. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { LowBalanceNotifier } from '../../examples/subscriber-infra/lib/low-balance-notifier.ts';
import { readSettings, SUBSCRIBERS } from '../../examples/subscriber-infra/lib/settings.ts';

const STREAM_ARN = 'arn:aws:kinesis:eu-north-1:111122223333:stream/Millrace';
const code = mkdtempSync(join(tmpdir(), 'millrace-subscriber-'));
writeFileSync(join(code, 'bootstrap'), 'not a program');

const read = (given: Record<string, unknown>) =>
  readSettings((name) => ({ subscriber: 'python', code, streamArn: STREAM_ARN, ...given })[name]);

const stackOf = (given: Record<string, unknown>) =>
  new LowBalanceNotifier(new App({ context: {} }), 'LowBalanceNotifier', { settings: read(given) });
const template = (given: Record<string, unknown> = {}) => Template.fromStack(stackOf(given));

const all = (of: Template, type: string) =>
  Object.values(of.findResources(type)) as { Properties: Record<string, any>; DeletionPolicy?: string }[];

test.each([
  ['python', 'python3.12', 'app.handler'],
  ['node', 'nodejs22.x', 'app.handler'],
  ['rust', 'provided.al2023', 'bootstrap'],
])('%s runs on %s with the handler %s, and reads its tables from the environment', (subscriber, runtime, handler) => {
  const of = template({ subscriber });
  const [function_, ...others] = all(of, 'AWS::Lambda::Function');
  expect(others).toEqual([]);
  const { Outputs } = of.toJSON() as { Outputs: Record<string, { Value: object }> };
  expect(function_!.Properties).toMatchObject({
    Runtime: runtime,
    Handler: handler,
    Environment: {
      Variables: {
        POSITIONS_TABLE: Outputs.PositionsTable!.Value,
        NOTIFICATIONS_TABLE: Outputs.NotificationsTable!.Value,
        UNDECODABLE_TABLE: Outputs.UndecodableTable!.Value,
        LOW_BALANCE: '10000',
      },
    },
  });
  expect(Object.keys(Outputs)).toEqual(expect.arrayContaining(['FunctionName', 'FailureBucket']));
  expect(all(of, 'AWS::Lambda::EventSourceMapping').map((it) => it.Properties.EventSourceArn)).toEqual([STREAM_ARN]);
});

test('every service of the settings is tested above', () => {
  expect(SUBSCRIBERS).toEqual(['python', 'node', 'rust']);
});

test('the tables have the keys that the services write', () => {
  const keys = all(template(), 'AWS::DynamoDB::GlobalTable').map(({ Properties }) =>
    Properties.KeySchema.map(({ AttributeName }: any) => {
      const { AttributeType } = Properties.AttributeDefinitions.find((it: any) => it.AttributeName === AttributeName);
      return `${AttributeName}: ${AttributeType}`;
    }),
  );
  expect(keys).toEqual([['Subject: S'], ['Account: S', 'Sequence: N'], ['StreamId: S']]);
});

test('the service may read and save positions, and only add notifications and undecodable records', () => {
  const statements = all(template(), 'AWS::IAM::Policy').flatMap(
    ({ Properties }) => Properties.PolicyDocument.Statement,
  );
  const ofTables = statements.filter(({ Action }) => [Action].flat()[0].startsWith('dynamodb:'));
  const allowed = ofTables.map((it) => [it.Resource['Fn::GetAtt'][0].replace(/[0-9A-F]{8}$/, ''), it.Action]);
  expect(allowed).toEqual([
    ['PositionsTable', ['dynamodb:GetItem', 'dynamodb:UpdateItem']],
    ['Notifications', 'dynamodb:PutItem'],
    ['Undecodable', 'dynamodb:PutItem'],
  ]);
  for (const { Properties } of all(template(), 'AWS::IAM::Role')) {
    expect(Properties).not.toHaveProperty('ManagedPolicyArns');
  }
});

test('settings change the mapping, the threshold, the architecture and what is deleted', () => {
  const streamKeyArn = 'arn:aws:kms:eu-north-1:111122223333:key/0b1c2d3e';
  const of = template({
    streamKeyArn,
    retentionHours: '168',
    startAt: '2026-11-20T08:30:00Z',
    lowBalance: '500',
    architecture: 'x86_64',
    removalPolicy: 'destroy',
  });
  expect(all(of, 'AWS::Lambda::EventSourceMapping')[0]!.Properties).toMatchObject({
    MaximumRecordAgeInSeconds: 166 * 3600,
    StartingPosition: 'AT_TIMESTAMP',
  });
  expect(JSON.stringify(all(of, 'AWS::IAM::Policy'))).toContain(streamKeyArn);
  const [{ Properties }] = all(of, 'AWS::Lambda::Function') as [{ Properties: Record<string, any> }];
  expect(Properties).toMatchObject({
    Architectures: ['x86_64'],
    Environment: { Variables: { LOW_BALANCE: '500' } },
  });
  for (const type of ['AWS::DynamoDB::GlobalTable', 'AWS::S3::Bucket', 'AWS::Logs::LogGroup']) {
    for (const resource of all(of, type)) expect(resource.DeletionPolicy).toBe('Delete');
    for (const resource of all(template(), type)) expect(resource.DeletionPolicy).toBe('Retain');
  }
});

test.each([true, 'true', undefined])(
  'with subscribe=%s, the function reads the stream, and seven alarms exist',
  (subscribe) => {
    const of = template({ subscribe });
    expect(all(of, 'AWS::Lambda::EventSourceMapping')).toHaveLength(1);
    expect(all(of, 'AWS::CloudWatch::Alarm')).toHaveLength(7);
    const [logGroup] = Object.keys(of.findResources('AWS::Logs::LogGroup'));
    for (const { Properties } of all(of, 'AWS::Logs::MetricFilter')) {
      expect(Properties.LogGroupName).toEqual({ Ref: logGroup });
    }
  },
);

test.each([false, 'false'])(
  'with subscribe=%o, there is nothing of the subscriber, and the rest is the same',
  (subscribe) => {
    type Json = { Resources: Record<string, { Type: string; Properties: object }>; Outputs: object };
    const { Resources, Outputs } = template().toJSON() as Json;
    const without = template({ subscribe }).toJSON() as Json;
    const { FailureBucket: _, ...outputs } = Outputs as Record<string, unknown>;
    expect(without.Outputs).toEqual(outputs);
    const isOfSubscriber = (id: string) => /^(Subscriber|DomainStream)/.test(id);
    const expected = Object.keys(Resources).filter((id) => !isOfSubscriber(id));
    expect(Object.keys(without.Resources)).toEqual(expected);
    for (const [id, resource] of Object.entries(without.Resources)) {
      // The role may not read the stream yet.
      if (resource.Type === 'AWS::IAM::Policy') expect(JSON.stringify(resource)).not.toMatch(/kinesis|s3:/);
      else if (resource.Type !== 'AWS::Lambda::Function') expect(resource).toEqual(Resources[id]);
    }
  },
);

test.each(SUBSCRIBERS)('%s has no warning', (subscriber) => {
  Annotations.fromStack(stackOf({ subscriber })).hasNoWarning('*', Match.anyValue());
});

describe('a setting that is wrong is named', () => {
  test.each<[Record<string, unknown>, RegExp]>([
    [{ subscriber: 'go' }, /"subscriber" is "go"; allowed: one of python, node, rust/],
    [{ subscriber: undefined }, /"subscriber" is missing/],
    [{ code: '/nowhere' }, /"code" is "\/nowhere"; allowed: a folder that exists/],
    [{ code: undefined }, /"code" is missing/],
    [{ streamArn: undefined }, /"streamArn" is missing/],
    [{ lowBalance: '1.5' }, /"lowBalance" is "1.5"; allowed: an integer/],
    [{ retentionHours: 'week' }, /"retentionHours" is "week"; allowed: an integer/],
    [{ subscribe: 'no' }, /"subscribe" is "no"; allowed: one of true, false/],
    [{ architecture: 'arm' }, /"architecture" is "arm"/],
    [{ removalPolicy: 'keep' }, /"removalPolicy" is "keep"/],
  ])('%o', (given, message) => {
    expect(() => read(given)).toThrow(message);
  });
});

test('the README lists every setting and every file', () => {
  const folder = join(import.meta.dirname, '../../examples/subscriber-infra');
  const readme = readFileSync(join(folder, 'README.md'), 'utf8');
  for (const name of Object.keys(read({}))) expect(readme).toContain(`| \`${name}\` |`);
  for (const file of ['bin', 'lib'].flatMap((it) => readdirSync(join(folder, it)).map((name) => `${it}/${name}`))) {
    expect(readme).toContain(`\`${file}\``);
  }
});
