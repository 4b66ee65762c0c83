/** A subscriber's own stack, in an app without Millrace's settings and feature flags. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Duration, Fn, Lazy, RemovalPolicy, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { AwsSolutionsChecks } from 'cdk-nag';
import { describe, expect, test } from 'vitest';
import {
  type DomainStreamAttributes,
  DomainStreamReference,
  PositionTable,
  StartingPosition,
  Subscriber,
  type SubscriberProps,
} from '../lib/index.ts';

const STREAM_ARN = 'arn:aws:kinesis:eu-north-1:111122223333:stream/Millrace-DomainStream';
const KEY_ARN = 'arn:aws:kms:eu-north-1:111122223333:key/0b1c2d3e-0000-4000-8000-000000000000';

interface Options extends Partial<Omit<SubscriberProps, 'stream' | 'handler'>> {
  stream?: Partial<DomainStreamAttributes>;
  stack?: StackProps;
  /** The timeout of the function; a minute by default. */
  timeout?: Duration | 'none';
  /** Adds to the stack before the subscriber, and may return further props. */
  prepare?: (stack: Stack, handler: lambda.Function) => Partial<SubscriberProps>;
}

/** A stack with a function of a role of its own, which has no other permission, and a subscriber. */
function subscribed({ stream, stack: stackProps, timeout = Duration.minutes(1), prepare, ...props }: Options = {}) {
  const app = new App({ context: {} });
  const stack = new Stack(app, 'Orders', stackProps);
  const role = new iam.Role(stack, 'Role', { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
  const handler = new lambda.Function(stack, 'Handler', {
    runtime: lambda.Runtime.PROVIDED_AL2023,
    handler: 'bootstrap',
    code: lambda.Code.fromAsset(import.meta.dirname),
    role,
    ...(timeout !== 'none' && { timeout }),
  });
  const subscriber = new Subscriber(stack, 'Notifier', {
    stream: DomainStreamReference.fromAttributes(stack, 'Stream', { streamArn: STREAM_ARN, ...stream }),
    handler,
    ...props,
    ...prepare?.(stack, handler),
  });
  return { app, stack, handler, subscriber };
}

const template = (options?: Options) => Template.fromStack(subscribed(options).stack);
const all = (of: Template, type: string) =>
  Object.values(of.findResources(type)) as { Properties: Record<string, any>; [key: string]: any }[];
const mapping = (options?: Options) => {
  const [found, ...others] = all(template(options), 'AWS::Lambda::EventSourceMapping');
  expect(others).toEqual([]);
  return found!.Properties;
};
/** The statements of the function's role: the resources, each with its actions. */
const allowed = (of: Template) =>
  all(of, 'AWS::IAM::Policy').flatMap(({ Properties }) =>
    Properties.PolicyDocument.Statement.map(({ Effect, Action, Resource, Condition }: any) => {
      expect(Effect).toBe('Allow');
      expect(Condition).toBeUndefined();
      return [Resource, [Action].flat()];
    }),
  );
const nag = (app: App) => Validations.of(app).addPlugins(new AwsSolutionsChecks(app));

describe('the mapping', () => {
  test('reads from the oldest event on, has bounded retries, bisects, and has a failure destination', () => {
    expect(mapping()).toMatchObject({
      EventSourceArn: STREAM_ARN,
      FunctionName: { Ref: expect.stringMatching(/^Handler/) },
      StartingPosition: 'TRIM_HORIZON',
      BatchSize: 100,
      ParallelizationFactor: 1,
      BisectBatchOnFunctionError: true,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      MaximumRetryAttempts: -1,
      MetricsConfig: { Metrics: ['EventCount'] },
      DestinationConfig: {
        OnFailure: { Destination: { 'Fn::GetAtt': [expect.stringMatching(/^NotifierDiscardedBatches/), 'Arn'] } },
      },
    });
    for (const absent of [
      'FilterCriteria',
      'MaximumBatchingWindowInSeconds',
      'StartingPositionTimestamp',
      'TumblingWindowInSeconds',
    ]) {
      expect(mapping()).not.toHaveProperty(absent);
    }
  });

  test.each([
    [undefined, 22],
    [24, 22],
    [168, 166],
    [8760, 168],
  ])('with a retention of %s hours, a batch is retried for %i hours', (retentionHours, hours) => {
    expect(mapping({ stream: { retentionHours } }).MaximumRecordAgeInSeconds).toBe(hours * 3600);
  });

  test('has the batch size, window and parallelization that are given', () => {
    const given = { batchSize: 1000, batchingWindow: Duration.seconds(5), parallelizationFactor: 10 };
    expect(mapping(given)).toMatchObject({
      BatchSize: 1000,
      MaximumBatchingWindowInSeconds: 5,
      ParallelizationFactor: 10,
    });
  });

  test.each([
    ['2026-11-20T08:30:00Z', 1_795_163_400],
    ['2026-11-20T09:30:00.999+01:00', 1_795_163_400],
  ])('begins at %s, in whole seconds', (time, seconds) => {
    const startingPosition = StartingPosition.atTimestamp(time);
    expect(mapping({ startingPosition })).toMatchObject({
      StartingPosition: 'AT_TIMESTAMP',
      StartingPositionTimestamp: seconds,
    });
  });

  test.each(['2026-11-20', '2026-11-20T08:30:00', '1795163400', 'yesterday', '2026-13-20T08:30:00Z'])(
    'does not begin at %s',
    (time) => {
      expect(() => StartingPosition.atTimestamp(time)).toThrow(`"${time}"; allowed: a time in RFC 3339`);
    },
  );

  test('passes only the event types of a filter, which examines the JSON', () => {
    const types = ['BalanceCredited', 'BalanceWithdrawn'];
    const { Filters } = mapping({ onlyEventTypesWithoutSequenceGate: types }).FilterCriteria;
    expect(Filters.map((it: any) => JSON.parse(it.Pattern))).toEqual([{ data: { type: types } }]);
  });

  test("is created after the function's permissions", () => {
    const of = template();
    const [policy] = Object.keys(of.findResources('AWS::IAM::Policy'));
    expect(all(of, 'AWS::Lambda::EventSourceMapping')[0]!.DependsOn).toContain(policy);
  });

  test('reads through a consumer of its own with enhanced fan-out', () => {
    const of = template({ enhancedFanOut: true });
    const [[id, consumer], ...others] = Object.entries(of.findResources('AWS::Kinesis::StreamConsumer')) as any;
    expect(others).toEqual([]);
    expect(consumer.Properties).toEqual({
      StreamARN: STREAM_ARN,
      ConsumerName: expect.stringMatching(/^[a-zA-Z0-9_.-]{1,128}$/),
    });
    const arn = { 'Fn::GetAtt': [id, 'ConsumerARN'] };
    expect(all(of, 'AWS::Lambda::EventSourceMapping')[0]!.Properties.EventSourceArn).toEqual(arn);
    expect(allowed(of)).toContainEqual([arn, ['kinesis:SubscribeToShard']]);
    expect(template().findResources('AWS::Kinesis::StreamConsumer')).toEqual({});
  });
});

describe('the permissions', () => {
  const bucket = { 'Fn::GetAtt': [expect.stringMatching(/^NotifierDiscardedBatches/), 'Arn'] };
  const READ = [
    'kinesis:DescribeStream',
    'kinesis:DescribeStreamSummary',
    'kinesis:GetRecords',
    'kinesis:GetShardIterator',
    'kinesis:ListShards',
  ];

  test('are those that Lambda needs on the stream and on the failure bucket', () => {
    expect(allowed(template())).toEqual([
      [bucket, ['s3:ListBucket']],
      [{ 'Fn::Join': ['', [bucket, '/aws/lambda/*']] }, ['s3:PutObject']],
      [STREAM_ARN, READ],
    ]);
  });

  test('include decryption with a customer-managed key, and with no other', () => {
    const of = allowed(template({ stream: { encryptionKeyArn: KEY_ARN } }));
    expect(of).toContainEqual([KEY_ARN, ['kms:Decrypt']]);
    expect(of).toHaveLength(4);
  });

  test('are the same on a stream of another AWS account', () => {
    const other = { env: { account: '444455556666', region: 'eu-north-1' } };
    const of = template({ stack: other, stream: { encryptionKeyArn: KEY_ARN } });
    expect(allowed(of)).toContainEqual([STREAM_ARN, READ]);
    expect(allowed(of)).toContainEqual([KEY_ARN, ['kms:Decrypt']]);
    expect(all(of, 'AWS::Lambda::EventSourceMapping')[0]!.Properties.EventSourceArn).toBe(STREAM_ARN);
  });
});

describe('the failure bucket', () => {
  test('is encrypted, private, accessible over TLS only, and retained', () => {
    const of = template();
    const [bucket, ...others] = all(of, 'AWS::S3::Bucket');
    expect(others).toEqual([]);
    expect(bucket!.DeletionPolicy).toBe('Retain');
    expect(bucket!.Properties).toMatchObject({
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
      },
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
    });
    expect(bucket!.Properties.LifecycleConfiguration.Rules).toContainEqual(
      expect.objectContaining({ ExpirationInDays: 90 }),
    );
    const [policy] = all(of, 'AWS::S3::BucketPolicy');
    expect(policy!.Properties.PolicyDocument.Statement).toContainEqual(
      expect.objectContaining({ Effect: 'Deny', Condition: { Bool: { 'aws:SecureTransport': 'false' } } }),
    );
  });

  test('has the retention, removal policy and access log that are given', () => {
    const of = template({
      failureRetention: Duration.days(7),
      removalPolicy: RemovalPolicy.DESTROY,
      prepare: (stack) => ({ accessLogsBucket: new s3.Bucket(stack, 'AccessLogs') }),
    });
    const bucket = Object.entries(of.findResources('AWS::S3::Bucket')).find(([id]) => id.startsWith('Notifier'))![1];
    expect(bucket.DeletionPolicy).toBe('Delete');
    expect(bucket.Properties.LifecycleConfiguration.Rules).toContainEqual(
      expect.objectContaining({ ExpirationInDays: 7 }),
    );
    expect(bucket.Properties.LoggingConfiguration).toEqual({
      DestinationBucketName: { Ref: expect.stringMatching(/^AccessLogs/) },
    });
  });

  test('may be one that exists', () => {
    const of = template({
      prepare: (stack) => ({ failureBucket: s3.Bucket.fromBucketName(stack, 'Failures', 'failures') }),
    });
    expect(all(of, 'AWS::S3::Bucket')).toEqual([]);
    const arn = { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':s3:::failures']] };
    const { DestinationConfig } = all(of, 'AWS::Lambda::EventSourceMapping')[0]!.Properties;
    expect(DestinationConfig).toEqual({ OnFailure: { Destination: arn } });
    expect(allowed(of)).toContainEqual([arn, ['s3:ListBucket']]);
    const objects = { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':s3:::failures/aws/lambda/*']] };
    expect(allowed(of)).toContainEqual([objects, ['s3:PutObject']]);
  });
});

describe('the alarms', () => {
  const alarms = (options?: Options) => all(template(options), 'AWS::CloudWatch::Alarm').map((it) => it.Properties);

  test('are on the iterator age, discarded records, destination failures, errors and throttles', () => {
    const handler = [{ Name: 'FunctionName', Value: { Ref: expect.stringMatching(/^Handler/) } }];
    const mappingId = { Ref: expect.stringMatching(/^NotifierMapping/) };
    const byMetric = Object.fromEntries(alarms().map((it) => [it.MetricName, it]));
    expect(alarms()).toHaveLength(5);
    expect(byMetric).toMatchObject({
      IteratorAge: { Statistic: 'Maximum', Threshold: 3_600_000, Dimensions: handler },
      OnFailureDestinationDeliveredEventCount: {
        Threshold: 1,
        Dimensions: [{ Name: 'EventSourceMappingUUID', Value: mappingId }],
      },
      DestinationDeliveryFailures: { Threshold: 1, Dimensions: handler },
      Errors: { Threshold: 1, Dimensions: handler },
      Throttles: { Threshold: 1, EvaluationPeriods: 3, Dimensions: handler },
    });
    for (const alarm of alarms()) {
      expect(alarm).toMatchObject({ Namespace: 'AWS/Lambda', TreatMissingData: 'notBreaching' });
      expect(alarm.AlarmDescription).toMatch(/subscriber Orders\/Notifier.*\.$/);
      expect(alarm).not.toHaveProperty('AlarmActions');
    }
  });

  test('have the age and the runbook that are given', () => {
    const set = alarms({ maxIteratorAge: Duration.minutes(5), runbook: 'https://example.org/runbook' });
    expect(set.find((it) => it.MetricName === 'IteratorAge')!.Threshold).toBe(300_000);
    expect(set.map((it) => it.AlarmDescription.split('https://example.org/runbook')[1]).sort()).toEqual([
      '#destinationfails',
      '#discarded',
      '#errors',
      '#iteratorage',
      '#throttles',
    ]);
  });

  test('notify a topic', () => {
    const { stack, subscriber } = subscribed();
    const arn = 'arn:aws:sns:eu-north-1:444455556666:pager';
    subscriber.notify(Topic.fromTopicArn(stack, 'Topic', arn));
    for (const { Properties } of all(Template.fromStack(stack), 'AWS::CloudWatch::Alarm')) {
      expect(Properties).toMatchObject({ AlarmActions: [arn], OKActions: [arn] });
    }
  });
});

describe('the alarms on the log', () => {
  /** The alarms and the metric filters, by the alarms' ids. */
  const alarmed = () => {
    const { stack, subscriber } = subscribed();
    const arn = 'arn:aws:sns:eu-north-1:444455556666:pager';
    subscriber.notify(Topic.fromTopicArn(stack, 'Topic', arn));
    subscriber.alarmOnLog(new logs.LogGroup(stack, 'Logs'));
    const of = Template.fromStack(stack);
    const find = (type: string, start: string) =>
      Object.entries(of.findResources(type)).find(([id]) => id.startsWith(start))![1].Properties;
    return {
      of,
      arn,
      alarm: (id: string) => find('AWS::CloudWatch::Alarm', `Notifier${id}`),
      filter: (id: string) => find('AWS::Logs::MetricFilter', `Notifier${id}Filter`),
    };
  };
  const PYTHON = 'consumers/python/src/millrace_consumer/consumer.py';
  const NODE = 'consumers/node/src/consumer.ts';
  const RUST = 'consumer/src/consumer.rs';

  test('count the lines of the log group in metrics of the subscriber, and notify the topic', () => {
    const { of, arn, alarm, filter } = alarmed();
    expect(all(of, 'AWS::CloudWatch::Alarm')).toHaveLength(7);
    for (const id of ['Gaps', 'Undecodable']) {
      const [metric] = filter(id).MetricTransformations;
      expect(metric).toEqual({
        MetricNamespace: 'MillraceSubscribers',
        MetricName: expect.stringMatching(new RegExp(`^Orders-Notifier-[0-9A-F]{8}-${id}$`)),
        MetricValue: '1',
      });
      expect(filter(id).LogGroupName).toEqual({ Ref: expect.stringMatching(/^Logs/) });
      expect(alarm(id)).toMatchObject({
        Namespace: metric.MetricNamespace,
        MetricName: metric.MetricName,
        Statistic: 'Sum',
        Threshold: 1,
        TreatMissingData: 'notBreaching',
        AlarmActions: [arn],
        OKActions: [arn],
        AlarmDescription: expect.stringMatching(/^The subscriber Orders\/Notifier .*\.$/),
      });
    }
  });

  test('have the runbook that is given', () => {
    const { stack, subscriber } = subscribed({ runbook: 'https://example.org/runbook' });
    subscriber.alarmOnLog(new logs.LogGroup(stack, 'Logs'));
    const descriptions = all(Template.fromStack(stack), 'AWS::CloudWatch::Alarm').map(
      (it) => it.Properties.AlarmDescription.split('https://example.org/runbook')[1],
    );
    expect(descriptions).toEqual(expect.arrayContaining(['#gaps', '#undecodable']));
  });

  test('are distinguished by the stack and the path', () => {
    const names = ['Orders', 'Invoices'].flatMap((name) => {
      const stack = new Stack(new App({ context: {} }), name);
      const handler = lambda.Function.fromFunctionAttributes(stack, 'Handler', {
        functionArn: 'arn:aws:lambda:eu-north-1:111122223333:function:notifier',
        role: iam.Role.fromRoleName(stack, 'Role', 'notifier'),
      });
      const stream = DomainStreamReference.fromAttributes(stack, 'Stream', { streamArn: STREAM_ARN });
      for (const id of ['A', 'B']) {
        new Subscriber(stack, id, { stream, handler }).alarmOnLog(new logs.LogGroup(stack, `Logs${id}`));
      }
      return all(Template.fromStack(stack), 'AWS::Logs::MetricFilter').map(
        (it) => it.Properties.MetricTransformations[0].MetricName,
      );
    });
    expect(new Set(names).size).toBe(8);
  });

  test.each([
    ['Gaps', PYTHON, 'skipping the events of an aggregate from the record %s on: %s'],
    ['Gaps', NODE, 'Events are skipped'],
    ['Gaps', RUST, 'events of an aggregate are skipped from this record on, because earlier ones are missing'],
    ['Undecodable', PYTHON, 'the record %s is undecodable: %s'],
    ['Undecodable', NODE, 'The record is undecodable and was stored'],
    ['Undecodable', RUST, 'a record contains no event'],
    ['neither', PYTHON, 'storing the undecodable record %s failed (%s); it will be delivered again'],
    ['neither', PYTHON, 'applied=%d duplicates=%d unknown=%d skipped=%d undecodable=%d '],
    ['neither', NODE, "The undecodable record couldn't be stored; it will be delivered again"],
    ['neither', NODE, 'Processed a batch'],
    ['neither', RUST, 'processed a batch'],
    ['neither', RUST, 'an aggregate is incomplete; the batch will be retried from this record on'],
  ])('%s counts what %s logs: %s', (counting, file, message) => {
    expect(readFileSync(join(import.meta.dirname, '../..', file), 'utf8')).toContain(message);
    const { filter } = alarmed();
    for (const id of ['Gaps', 'Undecodable']) {
      const pattern: string = filter(id).FilterPattern;
      expect(pattern).toMatch(/^\?"[^"?]+"( \?"[^"?]+")*$/);
      const phrases = [...pattern.matchAll(/"([^"]+)"/g)].map(([, phrase]) => phrase!);
      expect(phrases.some((phrase) => message.includes(phrase))).toBe(id === counting);
    }
  });
});

describe('what is wrong is named', () => {
  test.each<[string, Options, RegExp]>([
    ['a stream name', { stream: { streamArn: 'Millrace' } }, /Orders\/Stream: streamArn is "Millrace"; allowed/],
    [
      'the ARN of a consumer',
      { stream: { streamArn: `${STREAM_ARN}/consumer/a:1` } },
      /streamArn is .*; allowed: the ARN of a Kinesis stream/,
    ],
    [
      'the ARN of an alias',
      { stream: { encryptionKeyArn: 'arn:aws:kms:eu-north-1:111122223333:alias/stream' } },
      /encryptionKeyArn is .*; allowed: the ARN of a KMS key/,
    ],
    ['a retention that is too short', { stream: { retentionHours: 23 } }, /retentionHours is 23; allowed/],
    ['a retention that is too long', { stream: { retentionHours: 8761 } }, /retentionHours is 8761; allowed/],
    ['no batch', { batchSize: 0 }, /Orders\/Notifier: batchSize is 0; allowed: an integer from 1 to 10000/],
    ['a batch that is too large', { batchSize: 10_001 }, /batchSize is 10001/],
    ['too many batches at once', { parallelizationFactor: 11 }, /parallelizationFactor is 11; allowed: .* 1 to 10/],
    ['a long window', { batchingWindow: Duration.minutes(6) }, /cannot be over 300 seconds/],
    ['a filter that nothing passes', { onlyEventTypesWithoutSequenceGate: [] }, /would receive no event/],
    [
      'enhanced fan-out in another AWS account',
      { enhancedFanOut: true, stack: { env: { account: '444455556666', region: 'eu-north-1' } } },
      /enhancedFanOut is not supported for a stream of another AWS account/,
    ],
    [
      'a stream of another region',
      { stack: { env: { account: '111122223333', region: 'us-east-1' } } },
      /Orders\/Notifier: the stream is in the region eu-north-1 and the stack in us-east-1/,
    ],
    [
      'a stream of another AWS account without its key',
      { stack: { env: { account: '444455556666', region: 'eu-north-1' } } },
      /Notifier: the stream is in the AWS account 111122223333 and the stack in 444455556666, .* encryptionKeyArn/,
    ],
    [
      'a function without a role',
      {
        prepare: (stack) => ({
          handler: lambda.Function.fromFunctionArn(
            stack,
            'Imported',
            'arn:aws:lambda:eu-north-1:444455556666:function:notifier',
          ),
        }),
      },
      /the role of the function is unknown/,
    ],
  ])('%s', (_, options, message) => {
    expect(() => subscribed(options)).toThrow(message);
  });

  test('enhanced fan-out is possible in the same account', () => {
    const stack = { env: { account: '111122223333', region: 'eu-north-1' } };
    expect(() => subscribed({ enhancedFanOut: true, stack })).not.toThrow();
  });

  test.each<[string, Options]>([
    ['a stack without an account and a region', {}],
    ['a stack with a region only', { stack: { env: { region: 'eu-north-1' } } }],
    ['the account and the region of the stream', { stack: { env: { account: '111122223333', region: 'eu-north-1' } } }],
    [
      'a stream that is a parameter',
      {
        stack: { env: { account: '444455556666', region: 'us-east-1' } },
        stream: { streamArn: Fn.importValue('StreamArn') },
      },
    ],
  ])('%s is accepted', (_, options) => {
    expect(() => subscribed(options)).not.toThrow();
  });
});

describe('a value that is probably a mistake gets a warning', () => {
  const warnings = (options: Options) =>
    Annotations.fromStack(subscribed(options).stack)
      .findWarning('*', Match.anyValue())
      .map(({ id, entry }) => `${id}: ${entry.data}`);

  test.each<[string, Options, RegExp]>([
    ['a large batch', { batchSize: 1001 }, /^\/Orders\/Notifier: batchSize is 1001; recommended: up to 1000, .* 6 MB/],
    [
      'no timeout',
      { timeout: 'none' },
      /Notifier: the timeout of the function is 3 seconds; .* at least 30, .* 100 events/,
    ],
    ['a short timeout', { timeout: Duration.seconds(29), batchSize: 500 }, /is 29 seconds; .* up to 500 events/],
    ['a timeout in milliseconds', { timeout: Duration.millis(2000) }, /is 2 seconds/],
  ])('%s', (_, options, message) => {
    expect(warnings(options)).toEqual([expect.stringMatching(message)]);
  });

  test.each<[string, Options]>([
    ['the defaults', {}],
    ['the largest batch', { batchSize: 1000 }],
    ['a timeout of 30 seconds', { timeout: Duration.seconds(30) }],
    ['a timeout that is a parameter', { timeout: Duration.seconds(Lazy.number({ produce: () => 60 })) }],
    [
      'a function of another stack',
      {
        timeout: 'none',
        prepare: (stack) => ({
          handler: lambda.Function.fromFunctionAttributes(stack, 'Imported', {
            functionArn: 'arn:aws:lambda:eu-north-1:444455556666:function:notifier',
            role: iam.Role.fromRoleName(stack, 'ImportedRole', 'notifier'),
          }),
        }),
      },
    ],
  ])('%s has none', (_, options) => {
    expect(warnings(options)).toEqual([]);
  });

  test('which can be acknowledged by the id in the message', () => {
    const { stack, subscriber } = subscribed({ batchSize: 2000 });
    const [warning] = Annotations.fromStack(stack).findWarning('*', Match.anyValue());
    const [, id] = /\[ack: (.*)\]$/.exec(warning!.entry.data as string)!;
    Validations.of(subscriber).acknowledge({ id: id!, reason: 'Measured: the function needs 10 seconds.' });
    Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
  });
});

describe('a failure bucket with a customer-managed key', () => {
  test('lets Lambda create data keys with the role of the function', () => {
    const { stack } = subscribed({
      prepare: (stack) => {
        const encryptionKey = kms.Key.fromKeyArn(stack, 'FailuresKey', KEY_ARN);
        const bucketArn = 'arn:aws:s3:::failures';
        return { failureBucket: s3.Bucket.fromBucketAttributes(stack, 'Failures', { bucketArn, encryptionKey }) };
      },
    });
    Template.fromStack(stack).hasResourceProperties('AWS::IAM::Policy', {
      PolicyDocument: {
        Statement: Match.arrayWith([{ Action: 'kms:GenerateDataKey', Effect: 'Allow', Resource: KEY_ARN }]),
      },
    });
  });
});

describe('AWS Solutions checks', () => {
  test.each<[string, Options]>([
    ['with the defaults', {}],
    ['with every option', { enhancedFanOut: true, stream: { encryptionKeyArn: KEY_ARN } }],
    [
      'with a bucket of another stack',
      { prepare: (stack) => ({ failureBucket: s3.Bucket.fromBucketName(stack, 'Failures', 'failures') }) },
    ],
    [
      'with a position table',
      {
        prepare: (stack, handler) => {
          new PositionTable(stack, 'Positions').grantConsume(handler);
          return {};
        },
      },
    ],
  ])('pass %s', (_, options) => {
    const { app } = subscribed(options);
    nag(app);
    expect(() => app.synth()).not.toThrow();
  });

  test('would find what is wrong', () => {
    const { app } = subscribed({
      prepare: (_, handler) => {
        handler.addToRolePolicy(new iam.PolicyStatement({ actions: ['dynamodb:GetItem'], resources: ['*'] }));
        return {};
      },
    });
    nag(app);
    expect(() => app.synth()).toThrow(/IAM5/);
  });
});

describe('the table of positions', () => {
  const positions = (props?: ConstructorParameters<typeof PositionTable>[2]) => {
    const { stack, handler } = subscribed();
    const table = new PositionTable(stack, 'Positions', props);
    table.grantConsume(handler);
    return Template.fromStack(stack);
  };

  test('has the key that the libraries read, on-demand capacity and backups, and is protected', () => {
    const [table, ...others] = all(positions(), 'AWS::DynamoDB::GlobalTable');
    expect(others).toEqual([]);
    expect(table!.DeletionPolicy).toBe('Retain');
    expect(table!.Properties).toMatchObject({
      KeySchema: [{ AttributeName: 'Subject', KeyType: 'HASH' }],
      AttributeDefinitions: [{ AttributeName: 'Subject', AttributeType: 'S' }],
      BillingMode: 'PAY_PER_REQUEST',
      SSESpecification: { SSEEnabled: true },
      Replicas: [
        expect.objectContaining({
          DeletionProtectionEnabled: true,
          PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        }),
      ],
    });
    const readme = readFileSync(join(import.meta.dirname, '../../consumers/README.md'), 'utf8');
    expect(readme).toContain('| `Subject` | S, partition key |');
  });

  test('can be deleted with its stack', () => {
    const [table] = all(positions({ removalPolicy: RemovalPolicy.DESTROY }), 'AWS::DynamoDB::GlobalTable');
    expect(table!.DeletionPolicy).toBe('Delete');
    expect(table!.Properties.Replicas[0].DeletionProtectionEnabled).toBe(false);
  });

  test('allows the calls of the libraries, and no other', () => {
    const arn = { 'Fn::GetAtt': [expect.stringMatching(/^Positions/), 'Arn'] };
    const ofTables = allowed(positions()).filter(([, actions]) => actions[0].startsWith('dynamodb:'));
    expect(ofTables).toEqual([[arn, ['dynamodb:GetItem', 'dynamodb:UpdateItem']]]);
  });

  test('is a table of the CDK, for grants of other kinds', () => {
    const { stack } = subscribed();
    expect(new PositionTable(stack, 'Positions').table).toBeInstanceOf(dynamodb.TableV2);
  });
});
