/** The setting `dailyReport`: a schedule that queries the lake. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Validations } from 'aws-cdk-lib';
import { Match, type Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';
import { beforeAll, describe, expect, test } from 'vitest';
import { accounts } from '../domain/accounts.ts';
import { forYesterday } from '../lib/daily-report.ts';
import type { Lookup } from '../lib/settings.ts';
import { app, template } from './synthesise.ts';

const YESTERDAY = "CAST(current_date - INTERVAL '1' DAY AS varchar)";
const SQL = "-- Is it's a report?\nSELECT '?' FROM events WHERE time >= ? /* from */ AND time <= ? /*to*/\n";

function withReport(name = 'daily-report.sql'): (lookup: Lookup) => ReturnType<typeof accounts> {
  const queries = mkdtempSync(join(tmpdir(), 'millrace-report-'));
  writeFileSync(join(queries, name), SQL);
  return (lookup) => ({ ...accounts(lookup), queries });
}

let set: Template;
beforeAll(() => {
  set = template({ dailyReport: true }, withReport());
});

const properties = (of: Template, type: string) =>
  Object.values(of.findResources(type)).map(({ Properties }) => Properties as Record<string, any>);
const group = () => properties(set, 'AWS::Athena::WorkGroup').find((it) => /^Daily report/.test(it.Description))!;
const joined = (value: any): string =>
  value['Fn::Join'][1].map((part: any) => (typeof part === 'string' ? part : '_')).join('');

test('without the setting there is no schedule, and no second work group', () => {
  const of = template({}, withReport());
  for (const type of ['AWS::Scheduler::Schedule', 'AWS::Scheduler::ScheduleGroup']) {
    expect(of.findResources(type)).toEqual({});
  }
  expect(properties(of, 'AWS::Athena::WorkGroup')).toHaveLength(1);
  expect(of.findOutputs('DailyReports')).toEqual({});
});

test('each day at 01:00 UTC the schedule starts the query for the day before, once', () => {
  const [schedule] = properties(set, 'AWS::Scheduler::Schedule');
  const [resource] = Object.values(set.findResources('AWS::Scheduler::Schedule'));
  const needed = [
    ...Object.entries(set.findResources('AWS::Athena::WorkGroup', { Properties: { Name: group().Name } })),
    ...Object.entries(set.findResources('AWS::Scheduler::ScheduleGroup')),
  ];
  // Their names are the same after the setting was false.
  for (const [, { DeletionPolicy }] of needed) expect(DeletionPolicy).toBe('Delete');
  expect(resource!.DependsOn.sort()).toEqual(needed.map(([id]) => id).sort());
  expect(schedule).toMatchObject({
    ScheduleExpression: 'cron(0 1 * * ? *)',
    ScheduleExpressionTimezone: 'UTC',
    FlexibleTimeWindow: { Mode: 'OFF' },
    Target: { RetryPolicy: { MaximumEventAgeInSeconds: 12 * 3600, MaximumRetryAttempts: 20 } },
  });
  expect(joined(schedule!.Target.Arn)).toBe('arn:_:scheduler:::aws-sdk:athena:startQueryExecution');
  const { ClientRequestToken, ...input } = JSON.parse(schedule!.Target.Input);
  const [database] = properties(set, 'AWS::Glue::Database');
  expect(input).toEqual({
    QueryString: SQL.replace('? /* from */', YESTERDAY).replace('? /*to*/', YESTERDAY),
    QueryExecutionContext: { Database: database!.DatabaseInput.Name },
    WorkGroup: group().Name,
  });
  expect(ClientRequestToken).toMatch(/<aws\.scheduler\.scheduled-time>$/);
  expect(ClientRequestToken).toContain(group().Name);
  // Athena accepts 32 to 128 characters. A time has 20.
  const { length } = ClientRequestToken.replace(/<.*>/, '2026-11-21T01:00:00Z');
  expect(length).toBeGreaterThanOrEqual(32);
  expect(length).toBeLessThanOrEqual(128);
});

test('the results are in a folder of their own, where no rule expires them', () => {
  expect(joined(group().WorkGroupConfiguration.ResultConfiguration.OutputLocation)).toBe('s3://_/reports/');
  expect(group().WorkGroupConfiguration.EnforceWorkGroupConfiguration).toBe(true);
  const rules = properties(set, 'AWS::S3::Bucket').flatMap((it) => it.LifecycleConfiguration.Rules);
  const expired = rules.filter((it) => it.ExpirationInDays).map((it) => it.Prefix);
  expect(expired).toContain('athena/');
  expect(expired).not.toContain('reports/');
  expect(joined(Object.values(set.findOutputs('DailyReports'))[0]!.Value)).toBe('s3://_/reports/');
});

test('the role may start this query, read the lake and write reports, on behalf of this schedule group', () => {
  const role = properties(set, 'AWS::IAM::Role').find((it) => /schedule of the daily report/.test(it.Description))!;
  const [trust] = role.AssumeRolePolicyDocument.Statement;
  const [schedules] = Object.keys(set.findResources('AWS::Scheduler::ScheduleGroup'));
  expect(trust).toMatchObject({
    Principal: { Service: 'scheduler.amazonaws.com' },
    Condition: {
      StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } },
      ArnEquals: { 'aws:SourceArn': { 'Fn::GetAtt': [schedules, 'Arn'] } },
    },
  });
  const allowed: Record<string, string[]> = {};
  for (const { Action, Resource } of role.Policies[0].PolicyDocument.Statement) {
    for (const arn of [Resource].flat()) {
      const name = arn['Fn::Join'] ? joined(arn).replace(/^.*:/, '') : '_';
      allowed[name] = [...(allowed[name] ?? []), ...[Action].flat()].sort();
    }
  }
  const [database] = properties(set, 'AWS::Glue::Database').map((it) => it.DatabaseInput.Name);
  const read = ['glue:GetDatabase', 'glue:GetTable'];
  expect(allowed).toEqual({
    [`workgroup/${group().Name}`]: ['athena:StartQueryExecution'],
    catalog: read,
    'database/default': read,
    [`database/${database}`]: read,
    [`table/${database}/events`]: read,
    [`table/${database}/domain_events`]: read,
    _: ['s3:GetBucketLocation', 's3:ListBucket', 's3:ListBucketMultipartUploads'],
    '_/events-parquet/*': ['s3:GetObject'],
    '_/reports/*': ['s3:AbortMultipartUpload', 's3:GetObject', 's3:ListMultipartUploadParts', 's3:PutObject'],
  });
});

test('a query that does not start or that fails raises an alarm for a day', () => {
  set.hasResourceProperties('AWS::CloudWatch::Alarm', {
    Namespace: 'AWS/Scheduler',
    MetricName: 'TargetErrorCount',
    Dimensions: [Match.objectLike({ Name: 'ScheduleGroup' })],
    Threshold: 1,
    Period: 86_400,
    AlarmDescription: Match.stringLikeRegexp('#reportnotstarted$'),
  });
  set.hasResourceProperties('AWS::CloudWatch::Alarm', {
    Namespace: 'AWS/Athena',
    MetricName: 'TotalExecutionTime',
    Dimensions: [
      { Name: 'QueryState', Value: 'FAILED' },
      { Name: 'QueryType', Value: 'DML' },
      { Name: 'WorkGroup', Value: group().Name },
    ],
    Statistic: 'SampleCount',
    Threshold: 1,
    Period: 86_400,
    AlarmDescription: Match.stringLikeRegexp('#reportfails$'),
  });
});

test('it reads the folder of the format', () => {
  const of = JSON.stringify(template({ dailyReport: true, lakeFormat: 'json' }, withReport()).toJSON());
  expect(of).toContain('"/events/*"');
  expect(of).not.toContain('events-parquet');
});

test('a domain without the query is refused', () => {
  expect(() => template({ dailyReport: true }, withReport('other.sql'))).toThrow(/has no daily-report\.sql/);
});

test('it passes AWS Solutions checks', () => {
  const { app: checked } = app({ dailyReport: true }, withReport());
  Validations.of(checked).addPlugins(new AwsSolutionsChecks(checked));
  expect(() => checked.synth()).not.toThrow();
});

describe('only the parameters from and to have a value', () => {
  const of = (text: string) => forYesterday({ name: 'daily-report', description: 'A report.', text });

  test.each([
    ['? /* from */', YESTERDAY],
    ['?/*to*/', YESTERDAY],
    ["SELECT '?' -- what?\n", "SELECT '?' -- what?\n"],
    ['SELECT 1 /* why? */', 'SELECT 1 /* why? */'],
    ['SELECT "?"', 'SELECT "?"'],
  ])('%s', (text, expected) => {
    expect(of(text)).toBe(expected);
  });

  test.each([
    ['? /* account */', /daily-report\.sql: .*no value for the parameter "account"/],
    ['WHERE a = ?', /daily-report\.sql: a parameter has no name/],
    ["WHERE a = '-- ' OR b = ?", /a parameter has no name/],
  ])('%s is refused', (text, message) => {
    expect(() => of(text)).toThrow(message);
  });
});
