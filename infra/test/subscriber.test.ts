/** A subscriber's own stack, in an app without Millrace's settings and feature flags. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Duration, RemovalPolicy, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
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
  /** Adds to the stack before the subscriber, and may return further props. */
  prepare?: (stack: Stack, handler: lambda.Function) => Partial<SubscriberProps>;
}

/** A stack with a function of a role of its own, which has no other permission, and a subscriber. */
function subscribed({ stream, stack: stackProps, prepare, ...props }: Options = {}) {
  const app = new App({ context: {} });
  const stack = new Stack(app, 'Orders', stackProps);
  const role = new iam.Role(stack, 'Role', { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
  const handler = new lambda.Function(stack, 'Handler', {
    runtime: lambda.Runtime.PROVIDED_AL2023,
    handler: 'bootstrap',
    code: lambda.Code.fromAsset(import.meta.dirname),
    role,
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
    expect(ofTables).toEqual([[arn, ['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:UpdateItem']]]);
  });

  test('is a table of the CDK, for grants of other kinds', () => {
    const { stack } = subscribed();
    expect(new PositionTable(stack, 'Positions').table).toBeInstanceOf(dynamodb.TableV2);
  });
});
