import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSettings } from '../lib/settings.ts';
import { EMULATOR, fakeArtifacts } from './synthesise.ts';

const artifacts = fakeArtifacts();
const read = (given: Record<string, unknown>, environment: Record<string, string> = EMULATOR) =>
  readSettings((name) => ({ artifacts, ...given })[name], environment);

test('the defaults are those for production on AWS', () => {
  expect(read({})).toEqual({
    stage: 'aws',
    artifacts,
    architecture: 'arm64',
    removalPolicy: 'retain',
    retentionHours: 168,
    capacity: { mode: 'on-demand' },
    streamKey: 'aws-managed',
    shareWithAccounts: [],
    restrictWriters: false,
    writerRoles: [],
    authorization: 'iam',
    logRetentionDays: 30,
    alarmTopic: undefined,
    runbook: 'docs/runbook.md',
    enhancedFanOut: false,
    activeTracing: false,
    retryAttempts: -1,
    failureRetentionDays: 90,
    reconcilerMinutes: 1,
    lakeFormat: 'parquet',
    dailyReport: false,
  });
});

test('the local stage is open and is thrown away', () => {
  expect(read({ stage: 'local' })).toMatchObject({ removalPolicy: 'destroy', authorization: 'none' });
});

test('the lake of the local stage has readable lines, unless the setting says otherwise', () => {
  expect(read({ stage: 'local' }).lakeFormat).toBe('json');
  expect(read({ stage: 'local', lakeFormat: 'parquet' }).lakeFormat).toBe('parquet');
});

test('numbers come as text from the command line and as numbers from cdk.json', () => {
  expect(read({ retentionHours: '24' }).retentionHours).toBe(24);
  expect(read({ retentionHours: 8760 }).retentionHours).toBe(8760);
  expect(read({ enhancedFanOut: 'true' }).enhancedFanOut).toBe(true);
  expect(read({ enhancedFanOut: false }).enhancedFanOut).toBe(false);
  expect(read({ activeTracing: 'true' }).activeTracing).toBe(true);
  expect(read({ dailyReport: 'true' }).dailyReport).toBe(true);
  expect(read({ shardMode: 'provisioned', shards: '3' }).capacity).toEqual({ mode: 'provisioned', shards: 3 });
});

const ROLE = 'arn:aws:iam::444455556666:role/service/Notifier';

describe('accounts and roles', () => {
  test('come separated by commas from the command line, and as an array from cdk.json', () => {
    const expected = ['000000000123', ROLE];
    const of = (shareWithAccounts: unknown) =>
      read({ streamKey: 'customer-managed', shareWithAccounts }).shareWithAccounts;
    expect(of(`000000000123,${ROLE}`)).toEqual(expected);
    expect(of(['000000000123', ROLE, ROLE])).toEqual(expected);
    expect(of(ROLE)).toEqual([ROLE]);
    expect(of([])).toEqual([]);
    expect(read({ restrictWriters: 'true', writerRoles: `${ROLE},${ROLE}2` }).writerRoles).toEqual([ROLE, `${ROLE}2`]);
  });

  test.each<[string, unknown]>([
    ['nothing', ''],
    ['a number, which may have lost zeros', 444455556666],
    ['a number in an array', [444455556666]],
    ['an id that is too short', '44445555666'],
    ['a wildcard', 'arn:aws:iam::444455556666:role/*'],
    ['everybody', '*'],
    ['a user', 'arn:aws:iam::444455556666:user/me'],
    ['a session', 'arn:aws:sts::444455556666:assumed-role/Notifier/session'],
    ['an empty item', `${ROLE},`],
    ['an object', { id: '444455556666' }],
  ])('are not %s', (_, value) => {
    const shared = { streamKey: 'customer-managed', shareWithAccounts: value };
    expect(() => read(shared)).toThrow(/"shareWithAccounts" is .*; allowed: AWS account ids/);
    const restricted = { restrictWriters: true, writerRoles: value };
    expect(() => read(restricted)).toThrow(/"writerRoles" is .*; allowed: ARNs of IAM roles/);
  });

  test('an account id is no role', () => {
    const restricted = { restrictWriters: true, writerRoles: '444455556666' };
    expect(() => read(restricted)).toThrow(/"writerRoles" is "444455556666"; allowed: ARNs of IAM roles/);
  });
});

describe('a setting that is wrong is named with its value and what is allowed', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['an unknown stage', { stage: 'prod' }, /"stage" is "prod"; allowed: one of aws, local/],
    ['an unknown architecture', { architecture: 'arm' }, /"architecture" is "arm"; allowed: one of arm64, x86_64/],
    ['an unknown removal policy', { removalPolicy: 'keep' }, /"removalPolicy" is "keep"/],
    ['a retention too short', { retentionHours: '23' }, /"retentionHours" is "23"; allowed: an integer from 24/],
    ['a retention that is no number', { retentionHours: '1d' }, /"retentionHours" is "1d"/],
    ['a fraction', { retentionHours: 24.5 }, /"retentionHours" is 24.5/],
    ['shards without number', { shardMode: 'provisioned' }, /"shards" is missing/],
    ['shards without use', { shards: 2 }, /"shards" is 2; allowed: no value while shardMode is on-demand/],
    ['no shards', { shardMode: 'provisioned', shards: 0 }, /"shards" is 0/],
    ['an unknown key', { streamKey: 'mine' }, /"streamKey" is "mine"; allowed: one of aws-managed, customer-managed/],
    [
      'sharing without a key that can be shared',
      { shareWithAccounts: '444455556666' },
      /"shareWithAccounts" is "444455556666"; allowed: no value while streamKey is aws-managed.*Set streamKey to customer-managed/,
    ],
    [
      'writers without a restriction',
      { writerRoles: ROLE },
      /"writerRoles" is .*; allowed: no value while restrictWriters is false/,
    ],
    ['a restriction that is neither', { restrictWriters: 'on' }, /"restrictWriters" is "on"; allowed: true or false/],
    [
      'a key on the emulator',
      { streamKey: 'customer-managed', stage: 'local' },
      /"streamKey" is "customer-managed"; allowed: aws-managed while stage is local/,
    ],
    [
      'a restriction on the emulator',
      { restrictWriters: true, stage: 'local' },
      /"restrictWriters" is true; allowed: false while stage is local/,
    ],
    ['an unknown authorization', { authorization: 'jwt' }, /"authorization" is "jwt"; allowed: one of iam, none/],
    ['no minutes', { reconcilerMinutes: 0 }, /"reconcilerMinutes" is 0; allowed: an integer from 1 to 60/],
    ['too many minutes', { reconcilerMinutes: '61' }, /"reconcilerMinutes" is "61"; allowed: an integer from 1 to 60/],
    ['days that CloudWatch does not offer', { logRetentionDays: 31 }, /"logRetentionDays" is 31; allowed: one of 1, 3/],
    ['a topic that is none', { alarmTopic: 'me@example.org' }, /"alarmTopic" is "me@example.org"/],
    ['a flag that is neither', { enhancedFanOut: 'yes' }, /"enhancedFanOut" is "yes"; allowed: true or false/],
    [
      'fan-out on the emulator',
      { enhancedFanOut: true, stage: 'local' },
      /"enhancedFanOut" is true; allowed: false while stage is local/,
    ],
    [
      'tracing on the emulator',
      { activeTracing: true, stage: 'local' },
      /"activeTracing" is true; allowed: false while stage is local/,
    ],
    ['an unknown format', { lakeFormat: 'orc' }, /"lakeFormat" is "orc"; allowed: one of parquet, json/],
    [
      'reports on the emulator',
      { dailyReport: 'true', stage: 'local' },
      /"dailyReport" is "true"; allowed: false while stage is local/,
    ],
    ['retries below none', { retryAttempts: -2 }, /"retryAttempts" is -2; allowed: an integer from -1 to 10000/],
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

test('programs of another architecture are refused, because they fail at start', () => {
  const program = (machine: number) => {
    const header = Buffer.alloc(64);
    header.write('\x7fELF', 'latin1');
    header.writeUInt16LE(machine, 18);
    return header;
  };
  const folder = fakeArtifacts();
  const reader = join(folder, 'reader/bootstrap');
  writeFileSync(reader, program(0x3e));
  expect(() => read({ artifacts: folder })).toThrow(
    /"architecture" is "arm64", but .*reader\/bootstrap was built for x86_64/,
  );
  expect(read({ artifacts: folder, architecture: 'x86_64' }).architecture).toBe('x86_64');
  writeFileSync(reader, program(0xb7));
  expect(read({ artifacts: folder }).architecture).toBe('arm64');
  writeFileSync(reader, program(0x03));
  expect(() => read({ artifacts: folder })).toThrow(/was built for ELF machine 3/);
});

describe('the local stage is for an emulator on this machine', () => {
  const url = (AWS_ENDPOINT_URL: string) => ({ AWS_ENDPOINT_URL });

  test.each<[string, Record<string, string>]>([
    ['an IPv4 address', url('http://127.0.0.1:4566')],
    ['another of that network', url('http://127.8.9.10:4566')],
    ['an IPv6 address', url('http://[::1]:4566/')],
    ['a name', url('https://LOCALHOST')],
    [
      'an endpoint per service',
      { AWS_ENDPOINT_URL_CLOUDFORMATION: 'http://localhost:1', AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' },
    ],
  ])('%s', (_, environment) => {
    expect(read({ stage: 'local' }, environment).stage).toBe('local');
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ['no endpoint', {}, /AWS_ENDPOINT_URL is not set/],
    ['an empty one', url(''), /AWS_ENDPOINT_URL is not set/],
    ['one for another service only', { AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' }, /AWS_ENDPOINT_URL is not set/],
    ['AWS itself', url('https://cloudformation.eu-north-1.amazonaws.com'), /no loopback address/],
    ['another machine', url('http://192.168.0.2:4566'), /no loopback address/],
    ['a name that only begins like one', url('http://localhost.example.org'), /no loopback address/],
    ['an address in a name', url('http://127.0.0.1.example.org'), /no loopback address/],
    ['an address as user', url('http://127.0.0.1@example.org'), /no loopback address/],
    ['no URL', url('127.0.0.1'), /no loopback address/],
    [
      'one service elsewhere',
      { ...EMULATOR, AWS_ENDPOINT_URL_DYNAMODB: 'https://example.org' },
      /AWS_ENDPOINT_URL_DYNAMODB is .*no loopback/,
    ],
    ['one that is ignored', { ...EMULATOR, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' }, /would go to AWS/],
  ])('not for %s', (_, environment, message) => {
    expect(() => read({ stage: 'local' }, environment)).toThrow(message);
  });

  test('AWS needs no endpoint', () => {
    expect(read({}, {}).stage).toBe('aws');
  });
});
