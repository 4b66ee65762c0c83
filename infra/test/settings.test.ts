import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSettings } from '../lib/settings.ts';
import { fakeArtifacts } from './synthesise.ts';

const artifacts = fakeArtifacts();
const read = (given: Record<string, unknown>) => readSettings((name) => ({ artifacts, ...given })[name]);

test('the defaults are those for production on AWS', () => {
  expect(read({})).toEqual({
    stage: 'aws',
    artifacts,
    architecture: 'arm64',
    removalPolicy: 'retain',
    retentionHours: 168,
    capacity: { mode: 'on-demand' },
    authorization: 'iam',
    defaultCurrency: 'EUR',
    logRetentionDays: 30,
    alarmTopic: undefined,
    runbook: 'docs/runbook.md',
    failureRetentionDays: 90,
  });
});

test('the local stage is open and is thrown away', () => {
  expect(read({ stage: 'local' })).toMatchObject({ removalPolicy: 'destroy', authorization: 'none' });
});

test('numbers come as text from the command line and as numbers from cdk.json', () => {
  expect(read({ retentionHours: '24' }).retentionHours).toBe(24);
  expect(read({ retentionHours: 8760 }).retentionHours).toBe(8760);
  expect(read({ shardMode: 'provisioned', shards: '3' }).capacity).toEqual({ mode: 'provisioned', shards: 3 });
});

describe('a setting that is wrong is named with its value and what is allowed', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['an unknown stage', { stage: 'prod' }, /"stage" is "prod"; allowed: one of aws, local/],
    ['an unknown architecture', { architecture: 'arm' }, /"architecture" is "arm"; allowed: one of arm64, x86_64/],
    ['an unknown removal policy', { removalPolicy: 'keep' }, /"removalPolicy" is "keep"/],
    ['a retention too short', { retentionHours: '23' }, /"retentionHours" is "23"; allowed: a whole number from 24/],
    ['a retention that is no number', { retentionHours: '1d' }, /"retentionHours" is "1d"/],
    ['a fraction', { retentionHours: 24.5 }, /"retentionHours" is 24.5/],
    ['shards without number', { shardMode: 'provisioned' }, /"shards" is missing/],
    ['shards without use', { shards: 2 }, /"shards" is 2; allowed: no value while shardMode is on-demand/],
    ['no shards', { shardMode: 'provisioned', shards: 0 }, /"shards" is 0/],
    ['an unknown authorization', { authorization: 'jwt' }, /"authorization" is "jwt"; allowed: one of iam, none/],
    ['a currency in small letters', { defaultCurrency: 'eur' }, /"defaultCurrency" is "eur"/],
    ['days that CloudWatch does not offer', { logRetentionDays: 31 }, /"logRetentionDays" is 31; allowed: one of 1, 3/],
    ['a topic that is none', { alarmTopic: 'me@example.org' }, /"alarmTopic" is "me@example.org"/],
    ['days for ever', { failureRetentionDays: 9999 }, /"failureRetentionDays" is 9999/],
    ['no folder', { artifacts: '' }, /"artifacts" is ""/],
  ])('%s', (_, given, message) => {
    expect(() => read(given)).toThrow(message);
  });

  test('functions that are not built', () => {
    const empty = mkdtempSync(join(tmpdir(), 'millrace-empty-'));
    expect(() => read({ artifacts: empty })).toThrow(/there is no .*writer\/bootstrap.*cargo lambda build/s);
  });
});
