/**
 * The settings of a deployment, and their allowed values.
 *
 * `app.ts` reads these once, from CDK context (`-c name=value`, or the
 * `context` of cdk.json). Constructs receive the result and never read context or
 * environment themselves, so this file is the complete list, except for the domain's own settings
 * (`../domain/accounts.ts`). The environment determines only whether the stage `local` is allowed.
 */
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import { RemovalPolicy } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { LAKE_FORMATS, type LakeFormat } from './lake-format.ts';
import { FUNCTION_NAMES } from './names.ts';

/** The target of the deployment: AWS, or the local emulator (see `stage.ts`). */
export type Stage = 'aws' | 'local';

/** Capacity of the domain stream. */
export type StreamCapacity =
  /** Kinesis changes the number of shards with the traffic. */
  | { readonly mode: 'on-demand' }
  /** A fixed number of shards, each for writes of 1 MB/s or 1,000 records/s. */
  | { readonly mode: 'provisioned'; readonly shards: number };

/**
 * The settings, with a value for each. A comment begins with the setting's name in CDK context, and `@default`
 * is the value of a setting that isn't set.
 */
export interface Settings {
  /**
   * `stage`: `aws` or `local`. The latter is an open API over tables that are deleted with the stack, so it is
   * refused unless the AWS endpoint in the environment is a loopback address.
   * @default 'aws'
   */
  readonly stage: Stage;

  /**
   * `artifacts`: the folder that contains `<function>/bootstrap` for each function. The setting is absolute, or
   * relative to the folder of cdk.json; the value here is always absolute.
   * @default - `../target/lambda`, to which `cargo lambda build` writes
   */
  readonly artifacts: string;

  /**
   * `architecture`: the processor architecture of the bootstraps, `arm64` or `x86_64`.
   * @default 'arm64'
   */
  readonly architecture: 'arm64' | 'x86_64';

  /**
   * `removalPolicy`: what happens to tables, buckets, stream and logs that are removed from the stack.
   * `retain` keeps them and protects the tables from deletion; `destroy` deletes them. A bucket that contains
   * objects isn't emptied: the deletion of the stack fails at it.
   * @default - `retain` on the stage `aws`, `destroy` on `local`
   */
  readonly removalPolicy: 'retain' | 'destroy';

  /**
   * `retentionHours`: how many hours the domain stream retains an event, 24 to 8760. A consumer that is down for
   * longer needs a republish.
   * @default 168
   */
  readonly retentionHours: number;

  /**
   * `shardMode`: `on-demand` or `provisioned`. `provisioned` needs `shards`, 1 to 10000, and `on-demand`
   * refuses it.
   * @default - on-demand
   */
  readonly capacity: StreamCapacity;

  /**
   * `streamKey`: the key that encrypts the domain stream. `aws-managed`: the key that AWS manages for Kinesis.
   * `customer-managed`: a KMS key of the stack, with rotation, which AWS charges for. Only with the latter, consumers
   * in other AWS accounts can read the stream. The events that are on the stream keep the key with which they were
   * encrypted, so don't change the setting back: the readers would lose the permission to decrypt them. `local` refuses
   * `customer-managed`.
   * https://docs.aws.amazon.com/streams/latest/dev/what-is-sse.html
   * @default 'aws-managed'
   */
  readonly streamKey: 'aws-managed' | 'customer-managed';

  /**
   * `shareWithAccounts`: the other AWS accounts that may consume the domain stream, as ids of 12 digits or ARNs of IAM
   * roles; separated by commas on the command line. An id allows the administrators of that account to permit it to any
   * of its roles. A role must exist. It needs `streamKey=customer-managed`, and `local` refuses it.
   * https://docs.aws.amazon.com/streams/latest/dev/resource-based-policy-examples.html
   * @default - none: only this AWS account
   */
  readonly shareWithAccounts: readonly string[];

  /**
   * `restrictWriters`: `true` denies writes to the domain stream to everyone except the translator, the reconciler and
   * `writerRoles`, whatever IAM policies allow. `local` refuses `true`.
   * @default false
   */
  readonly restrictWriters: boolean;

  /**
   * `writerRoles`: ARNs of further IAM roles of this AWS account that may write to the domain stream although
   * `restrictWriters` is `true`, such as the one with which operators run `millrace redrive` and `millrace republish`;
   * separated by commas on the command line. Wildcards aren't allowed. The setting grants nothing: the roles also need
   * policies of their own.
   * @default - none
   */
  readonly writerRoles: readonly string[];

  /**
   * `authorization`: who may call the HTTP API. `iam`: requests signed by a principal with
   * `execute-api:Invoke`. `none`: everyone who can reach it.
   * @default - `iam` on the stage `aws`, `none` on `local`
   */
  readonly authorization: 'iam' | 'none';

  /**
   * `logRetentionDays`: how many days log groups retain a line: a value that CloudWatch allows, 1 to 3653.
   * @default 30
   */
  readonly logRetentionDays: RetentionDays;

  /**
   * `alarmTopic`: ARN of the SNS topic that alarms notify.
   * @default - none: alarms are visible only in CloudWatch
   */
  readonly alarmTopic: string | undefined;

  /**
   * `runbook`: the URL of docs/runbook.md. Each alarm's description links to its section.
   * @default 'docs/runbook.md'
   */
  readonly runbook: string;

  /**
   * `enhancedFanOut`: `true` gives the projector a read throughput of its own, 2 MB/s for each shard, and pushes
   * records to it after about 70 ms. Otherwise it shares 2 MB/s with all other readers, and gets records after
   * about 200 ms. AWS charges for it (docs/performance.md). `local` refuses `true`. A change of this setting
   * replaces the projector's mapping, so the projector reads all retained events again; the read models ignore
   * them.
   * https://docs.aws.amazon.com/streams/latest/dev/building-consumers.html
   * @default false
   */
  readonly enhancedFanOut: boolean;

  /**
   * `activeTracing`: `true` lets Lambda record invocations of all functions in AWS X-Ray. The functions' own spans
   * are in their logs only. AWS charges for recorded traces. `local` refuses `true`.
   * https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
   * @default false
   */
  readonly activeTracing: boolean;

  /**
   * `retryAttempts`: how often each mapping retries a failed batch before it is discarded, -1 to 10000. -1 is
   * without limit, until the batch's records reach the mapping's age limit.
   * @default -1
   */
  readonly retryAttempts: number;

  /**
   * `failureRetentionDays`: how many days a discarded batch is retained, 1 to 3650.
   * @default 90
   */
  readonly failureRetentionDays: number;

  /**
   * `reconcilerMinutes`: how many minutes are between two runs of the reconciler, 1 to 60. With a longer
   * interval, problems of mappings, blocked, parked or stale aggregates and discarded batches are reported
   * later, and the alarms on the gauges wait longer for missing data.
   * @default 1
   */
  readonly reconcilerMinutes: number;

  /**
   * `lakeFormat`: how the lake stores events, `parquet` or `json`. With `parquet`, Firehose converts the events to
   * the columns of the lake's table, and a query reads and pays for only the columns that it names. With `json`, the
   * lake stores each event's bytes as a line. The formats have different folders, and the table reads the folder of
   * the current format. After a change, the lake therefore lacks earlier events until
   * `millrace republish --all` has published all events again; objects of the other format stay in their folder.
   * @default - `parquet` on the stage `aws`, `json` on `local`
   */
  readonly lakeFormat: LakeFormat;

  /**
   * `dailyReport`: `true` runs the domain's query `daily-report` each day at 01:00 UTC for the day before. Athena
   * writes the result as CSV below `reports/` in the lake's bucket, where it doesn't expire. AWS charges for what the
   * query reads. `local` refuses `true`.
   * @default false
   */
  readonly dailyReport: boolean;
}

/** The error of an invalid setting. The message names the setting, its value and the allowed values. */
export class SettingError extends Error {
  override readonly name = 'SettingError';
}

/** Finds a setting's raw value: a string from the command line, anything from cdk.json. */
export type Lookup = (name: string) => unknown;

/** The environment variables. The standard variables of the AWS SDKs among them contain the endpoints. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads all settings. Throws a `SettingError` for the first invalid one. */
export function readSettings(lookup: Lookup, environment: Environment): Settings {
  const stage = oneOf(lookup, 'stage', ['aws', 'local'], 'aws');
  const local = stage === 'local';
  if (local) requireLoopback(environment);
  const architecture = oneOf(lookup, 'architecture', ['arm64', 'x86_64'], 'arm64');
  return {
    stage,
    artifacts: artifacts(lookup, architecture),
    architecture,
    removalPolicy: oneOf(lookup, 'removalPolicy', ['retain', 'destroy'], local ? 'destroy' : 'retain'),
    // https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html
    retentionHours: integer(lookup, 'retentionHours', 24, 8760, 168),
    capacity: capacity(lookup),
    ...streamAccess(lookup, local),
    authorization: oneOf(lookup, 'authorization', ['iam', 'none'], local ? 'none' : 'iam'),
    logRetentionDays: logRetention(lookup),
    alarmTopic: topic(lookup),
    runbook: text(lookup, 'runbook', 'docs/runbook.md'),
    // The emulator's mappings don't read through a stream consumer.
    enhancedFanOut: flagOfAws(lookup, 'enhancedFanOut', local),
    // The emulator's Lambda records no traces.
    activeTracing: flagOfAws(lookup, 'activeTracing', local),
    // https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
    retryAttempts: integer(lookup, 'retryAttempts', -1, 10_000, -1),
    failureRetentionDays: integer(lookup, 'failureRetentionDays', 1, 3650, 90),
    reconcilerMinutes: integer(lookup, 'reconcilerMinutes', 1, 60, 1),
    // The emulator converts too, but lines are readable.
    lakeFormat: oneOf(lookup, 'lakeFormat', LAKE_FORMATS, local ? 'json' : 'parquet'),
    // The emulator's Scheduler can't start queries.
    dailyReport: flagOfAws(lookup, 'dailyReport', local),
  };
}

/** The setting `removalPolicy` as the CDK's constructs need it. */
export function removalPolicy({ removalPolicy }: Pick<Settings, 'removalPolicy'>): RemovalPolicy {
  return removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY;
}

function capacity(lookup: Lookup): StreamCapacity {
  const mode = oneOf(lookup, 'shardMode', ['on-demand', 'provisioned'], 'on-demand');
  if (mode === 'provisioned') {
    if (isUnset(lookup('shards'))) {
      throw refused('shards', undefined, 'an integer from 1 to 10000, because shardMode is provisioned');
    }
    return { mode, shards: integer(lookup, 'shards', 1, 10_000, 1) };
  }
  if (!isUnset(lookup('shards'))) {
    throw refused('shards', lookup('shards'), 'no value while shardMode is on-demand');
  }
  return { mode };
}

/**
 * The settings of the stream's key and policy. The emulator decrypts nothing, and its CloudFormation can't create
 * `AWS::Kinesis::ResourcePolicy`.
 */
function streamAccess(
  lookup: Lookup,
  local: boolean,
): Pick<Settings, 'streamKey' | 'shareWithAccounts' | 'restrictWriters' | 'writerRoles'> {
  const streamKey = oneOf(lookup, 'streamKey', ['aws-managed', 'customer-managed'], 'aws-managed');
  if (local && streamKey !== 'aws-managed') throw refused('streamKey', streamKey, 'aws-managed while stage is local');
  const shareWithAccounts = list(
    lookup,
    'shareWithAccounts',
    (it) => /^\d{12}$/.test(it) || ROLE_ARN.test(it),
    'AWS account ids, as strings of 12 digits, and ARNs of IAM roles, without wildcards',
  );
  if (shareWithAccounts.length > 0 && streamKey === 'aws-managed') {
    throw refused(
      'shareWithAccounts',
      lookup('shareWithAccounts'),
      'no value while streamKey is aws-managed: consumers need the permission to decrypt, and no policy can permit ' +
        'other accounts to use the key that AWS manages for Kinesis. Set streamKey to customer-managed',
    );
  }
  const restrictWriters = flagOfAws(lookup, 'restrictWriters', local);
  const writerRoles = list(
    lookup,
    'writerRoles',
    (it) => ROLE_ARN.test(it),
    'ARNs of IAM roles, without wildcards. The ARN of an assumed role (arn:aws:sts::…) is not the ARN of its role',
  );
  if (writerRoles.length > 0 && !restrictWriters) {
    throw refused('writerRoles', lookup('writerRoles'), 'no value while restrictWriters is false');
  }
  return { streamKey, shareWithAccounts, restrictWriters, writerRoles };
}

/**
 * The ARN of an IAM role: a path and a name.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
 */
const ROLE_ARN = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]+$/;

/** Strings of one form, each once: separated by commas on the command line, or an array in cdk.json. */
function list(lookup: Lookup, name: string, isAllowed: (it: string) => boolean, allowed: string): readonly string[] {
  const value = lookup(name);
  if (isUnset(value)) return [];
  const items: unknown[] = Array.isArray(value) ? value : String(value).split(',');
  // A number in cdk.json may have lost zeros at its beginning.
  const isText = (it: unknown): it is string => typeof it === 'string' && isAllowed(it);
  if (typeof value === 'number' || !items.every(isText)) throw refused(name, value, allowed);
  return [...new Set(items)];
}

/** A flag that the stage `local` refuses to set. */
function flagOfAws(lookup: Lookup, name: string, local: boolean): boolean {
  const value = lookup(name) ?? false;
  const isSet = String(value) === 'true';
  if (!isSet && String(value) !== 'false') throw refused(name, value, 'true or false');
  if (isSet && local) throw refused(name, value, 'false while stage is local');
  return isSet;
}

/**
 * Refuses the stage `local` unless every call of a deployment goes to this machine: CloudFormation's
 * endpoint is a loopback address, and so is each other endpoint that is set.
 * https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
 */
function requireLoopback(environment: Environment): void {
  const endpoints = Object.entries(environment).filter(([name, url]) => /^AWS_ENDPOINT_URL(_|$)/.test(name) && url);
  const elsewhere = endpoints.find(([, url]) => !isLoopback(url!));
  if (elsewhere) {
    throw localRefused(`${elsewhere[0]} is ${JSON.stringify(elsewhere[1])}, which is no loopback address`);
  }
  if (!endpoints.some(([name]) => name === 'AWS_ENDPOINT_URL' || name === 'AWS_ENDPOINT_URL_CLOUDFORMATION')) {
    throw localRefused('AWS_ENDPOINT_URL is not set, so the deployment would go to AWS');
  }
  if (environment.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS?.toLowerCase() === 'true') {
    throw localRefused('AWS_IGNORE_CONFIGURED_ENDPOINT_URLS is true, so the deployment would go to AWS');
  }
}

/** 127.0.0.0/8, ::1 and localhost; `URL` brings other spellings of an address into these forms. */
function isLoopback(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function localRefused(reason: string): SettingError {
  return new SettingError(
    `Setting "stage" is "local", but ${reason}. The local stage deploys an open API, and its data is ` +
      'deleted with the stack; it is for an emulator on this machine only. Set AWS_ENDPOINT_URL to the ' +
      'address of the emulator, or leave the stage out.',
  );
}

function topic(lookup: Lookup): string | undefined {
  const value = lookup('alarmTopic');
  if (isUnset(value)) return undefined;
  if (typeof value !== 'string' || !/^arn:[^:]+:sns:[^:]+:\d{12}:[^:]+$/.test(value)) {
    throw refused('alarmTopic', value, 'the ARN of an SNS topic');
  }
  return value;
}

function text(lookup: Lookup, name: string, fallback: string): string {
  const value = lookup(name) ?? fallback;
  if (typeof value !== 'string' || value === '') throw refused(name, value, 'a string that is not empty');
  return value;
}

function logRetention(lookup: Lookup): RetentionDays {
  // The enum's values are days. INFINITE isn't allowed, because every log group must have a retention period.
  const days = Object.values(RetentionDays).filter(
    (value): value is RetentionDays => typeof value === 'number' && value !== RetentionDays.INFINITE,
  );
  const value = integer(lookup, 'logRetentionDays', 1, 3653, RetentionDays.ONE_MONTH);
  if (!days.includes(value)) {
    throw refused('logRetentionDays', value, `one of ${days.join(', ')}`);
  }
  return value;
}

function artifacts(lookup: Lookup, architecture: Settings['architecture']): string {
  const value = lookup('artifacts') ?? '../target/lambda';
  if (typeof value !== 'string' || value === '') {
    throw refused('artifacts', value, 'a folder, absolute or relative to the folder of cdk.json');
  }
  const folder = resolve(value);
  const bootstraps = FUNCTION_NAMES.map((name) => resolve(folder, name, 'bootstrap'));
  const missing = bootstraps.filter((file) => !existsSync(file));
  if (missing.length > 0) {
    throw new SettingError(
      `Setting "artifacts" is ${JSON.stringify(value)}, but there is no ${missing.join(', no ')}. ` +
        'Build the functions first, with "cargo lambda build --release --arm64" in the root of the ' +
        'repository, or name another folder with "-c artifacts=<folder>".',
    );
  }
  for (const file of bootstraps) {
    const builtFor = programArchitecture(file);
    if (builtFor !== undefined && builtFor !== architecture) {
      throw new SettingError(
        `Setting "architecture" is "${architecture}", but ${file} was built for ${builtFor}; the function would fail at start.`,
      );
    }
  }
  return folder;
}

/**
 * The architecture of an ELF program, with Lambda's name, or ELF's number if Lambda doesn't support it;
 * `undefined` if the file isn't an ELF program.
 * https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
 */
function programArchitecture(file: string): string | undefined {
  const header = Buffer.alloc(20);
  const descriptor = openSync(file, 'r');
  try {
    readSync(descriptor, header);
  } finally {
    closeSync(descriptor);
  }
  if (header.toString('latin1', 0, 4) !== '\x7fELF') return undefined;
  const machine = header.readUInt16LE(18);
  return { 62: 'x86_64', 183: 'arm64' }[machine] ?? `ELF machine ${machine}`;
}

function oneOf<const T extends string>(lookup: Lookup, name: string, allowed: readonly T[], fallback: T): T {
  const value = lookup(name) ?? fallback;
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw refused(name, value, `one of ${allowed.join(', ')}`);
  return found;
}

function integer(lookup: Lookup, name: string, min: number, max: number, fallback: number): number {
  const value = lookup(name) ?? fallback;
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < min || number > max) {
    throw refused(name, value, `an integer from ${min} to ${max}`);
  }
  return number;
}

function isUnset(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

/** The error of a setting with an invalid value; `allowed` describes the valid ones. */
export function refused(name: string, value: unknown, allowed: string): SettingError {
  const given = isUnset(value) ? 'is missing' : `is ${JSON.stringify(value)}`;
  return new SettingError(`Setting "${name}" ${given}; allowed: ${allowed}.`);
}
