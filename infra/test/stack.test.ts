/** The settings that carry guarantees, on either stage. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Token } from 'aws-cdk-lib';
import { Match, type Template } from 'aws-cdk-lib/assertions';
import { beforeAll, describe, expect, test } from 'vitest';
import { app, template } from './synthesise.ts';

/** What programs outside this app read. */
const NAMES = JSON.parse(readFileSync(join(import.meta.dirname, '../lib/names.json'), 'utf8')) as {
  readonly outputs: Readonly<Record<string, string>>;
  readonly functions: Readonly<Record<string, string>>;
};

/**
 * The resources that have to keep their logical ids: for each stage, type by logical id.
 *
 * Stacks are updated in place. CloudFormation takes a resource whose logical id has changed for another
 * one: it creates an empty resource, and deletes the old one or leaves it outside the stack, with its data.
 */
const KEPT = JSON.parse(readFileSync(join(import.meta.dirname, 'stateful-resources.json'), 'utf8')) as {
  readonly [stage: string]: Readonly<Record<string, string>>;
};

/** The types of these resources. */
const STATEFUL = [
  // Data, or a key without which data can't be read.
  'AWS::Athena::WorkGroup',
  'AWS::DynamoDB::GlobalTable',
  'AWS::Glue::Database',
  'AWS::Glue::Table',
  'AWS::Kinesis::Stream',
  'AWS::KinesisFirehose::DeliveryStream',
  'AWS::KMS::Key',
  'AWS::Logs::LogGroup',
  'AWS::Logs::LogStream',
  'AWS::S3::Bucket',
  'AWS::SQS::Queue',
  // Metrics have the function's name. A mapping contains its position in the stream, and Lambda refuses
  // a second mapping of the same function and stream.
  'AWS::Lambda::EventSourceMapping',
  'AWS::Lambda::Function',
  // The API's address. An API refuses a second stage or route with the same key.
  'AWS::ApiGatewayV2::Api',
  'AWS::ApiGatewayV2::Route',
  'AWS::ApiGatewayV2::Stage',
];

let aws: Template;
let local: Template;
beforeAll(() => {
  aws = template();
  local = template({ stage: 'local' });
});

type Resource = { Properties: Record<string, any>; DeletionPolicy?: string };
const all = (of: Template, type: string) => Object.values(of.findResources(type)) as Resource[];
const mappings = (of: Template) => all(of, 'AWS::Lambda::EventSourceMapping').map(({ Properties }) => Properties);
const fromDynamoDb = (of: Template) => mappings(of).filter((it) => it.FilterCriteria);
const fromKinesis = (of: Template) => mappings(of).filter((it) => !it.FilterCriteria);

describe.each([
  ['aws', () => aws],
  ['local', () => local],
])('%s', (stage, of) => {
  test('stateful resources keep their logical ids', () => {
    const kept = KEPT[stage]!;
    const resources = Object.entries(of().toJSON().Resources as Record<string, { Type: string }>)
      .map(([id, { Type }]) => [id, Type] as const)
      .filter(([id, type]) => id in kept || STATEFUL.includes(type));
    // A new resource is added to the list, so that it keeps its id from then on.
    expect(Object.fromEntries(resources)).toEqual(kept);
  });

  test('the outputs and functions are those of names.json', () => {
    const outputs = Object.entries(of().toJSON().Outputs as Record<string, { Description: string }>);
    const described = Object.fromEntries(outputs.map(([name, { Description }]) => [name, Description]));
    // The last one is the domain's.
    expect(described).toStrictEqual({ ...NAMES.outputs, DefaultCurrency: expect.any(String) });
    const functions = all(of(), 'AWS::Lambda::Function').map(({ Properties }) => Properties.Description);
    expect(functions.sort()).toEqual(Object.values(NAMES.functions).sort());
  });

  test('every mapping starts at the beginning, has bounded retries, bisects, and has a failure destination', () => {
    expect(mappings(of())).toHaveLength(3);
    for (const mapping of mappings(of())) {
      expect(mapping).toMatchObject({
        StartingPosition: 'TRIM_HORIZON',
        BisectBatchOnFunctionError: true,
        FunctionResponseTypes: ['ReportBatchItemFailures'],
        DestinationConfig: {
          OnFailure: { Destination: { 'Fn::GetAtt': [expect.stringMatching(/Discarded/), 'Arn'] } },
        },
      });
      expect(mapping.MaximumRetryAttempts).toBe(-1);
    }
  });

  test('the DynamoDB stream is read one batch at a time, since order is kept per item only', () => {
    expect(fromDynamoDb(of()).map((it) => it.ParallelizationFactor)).toEqual([1]);
  });

  test('the events table streams new images, and the translator is its only reader', () => {
    const tables = all(of(), 'AWS::DynamoDB::GlobalTable').filter((it) => it.Properties.StreamSpecification);
    expect(tables.map((it) => it.Properties.StreamSpecification)).toEqual([{ StreamViewType: 'NEW_IMAGE' }]);
    expect(fromDynamoDb(of())).toHaveLength(1);
    expect(fromKinesis(of())).toHaveLength(2);
  });

  test('sparse indices find the marked items of cursors and views, and no other table has an index', () => {
    const indexes = Object.entries(of().findResources('AWS::DynamoDB::GlobalTable')).flatMap(([id, { Properties }]) =>
      (Properties.GlobalSecondaryIndexes ?? []).map((index: any) => [id.replace(/[0-9A-F]{8}$/, ''), index]),
    );
    const markedItems = (name: string, hash: string, range: string) => ({
      IndexName: name,
      KeySchema: [
        { AttributeName: hash, KeyType: 'HASH' },
        { AttributeName: range, KeyType: 'RANGE' },
      ],
      Projection: { ProjectionType: 'KEYS_ONLY' },
    });
    expect(indexes).toEqual([
      ['DomainStreamCursors', expect.objectContaining(markedItems('Suspended', 'SuspendedIn', 'SuspendedSince'))],
      ['ProjectionAccounts', expect.objectContaining(markedItems('Stale', 'StaleIn', 'StaleSince'))],
    ]);
  });

  test("a tag on each table contains its role, which the operators' commands check", () => {
    const roles = Object.entries(of().findResources('AWS::DynamoDB::GlobalTable')).map(([id, { Properties }]) => [
      id.replace(/[0-9A-F]{8}$/, ''),
      Properties.Replicas.map((replica: any) => replica.Tags),
    ]);
    const tagged = (role: string) => [[{ Key: 'millrace:role', Value: role }]];
    expect(Object.fromEntries(roles)).toEqual({
      EventLogEvents: tagged('events'),
      EventLogIdempotency: tagged('idempotency'),
      DomainStreamCursors: tagged('cursors'),
      ProjectionAccounts: tagged('views'),
      ProjectionTransactions: tagged('history'),
      ReconcilerState: tagged('reconciler'),
    });
  });

  test('the stream keeps user partition keys', () => {
    of().hasResourceProperties('AWS::Kinesis::Stream', { RecordDistributionStrategy: 'USER_PARTITION_KEY' });
  });

  test('idempotency keys and resolved batches expire', () => {
    for (const KeySchema of [
      [{ AttributeName: 'Key', KeyType: 'HASH' }],
      [
        { AttributeName: 'Kind', KeyType: 'HASH' },
        { AttributeName: 'Name', KeyType: 'RANGE' },
      ],
    ]) {
      of().hasResourceProperties('AWS::DynamoDB::GlobalTable', {
        KeySchema,
        TimeToLiveSpecification: { AttributeName: 'ExpiresAt', Enabled: true },
      });
    }
  });

  test('everything at rest is encrypted', () => {
    for (const { Properties } of all(of(), 'AWS::DynamoDB::GlobalTable')) {
      expect(Properties.SSESpecification).toMatchObject({ SSEEnabled: true });
    }
    for (const { Properties } of all(of(), 'AWS::S3::Bucket')) {
      expect(Properties.BucketEncryption).toBeDefined();
      expect(Properties.PublicAccessBlockConfiguration).toMatchObject({
        BlockPublicAcls: true,
        RestrictPublicBuckets: true,
      });
    }
    of().hasResourceProperties('AWS::Kinesis::Stream', { StreamEncryption: { EncryptionType: 'KMS' } });
    of().hasResourceProperties('AWS::KinesisFirehose::DeliveryStream', {
      DeliveryStreamEncryptionConfigurationInput: { KeyType: 'AWS_OWNED_CMK' },
    });
  });

  test('one bucket contains the access logs of the others, and S3 may write them', () => {
    const isTarget = (id: string) => id.startsWith('AccessLogs');
    const buckets = Object.entries(of().findResources('AWS::S3::Bucket'));
    const [[target]] = buckets.filter(([id]) => isTarget(id)) as [[string, Resource]];
    const others = buckets.filter(([id]) => !isTarget(id));
    expect(others).toHaveLength(2);
    for (const [, { Properties }] of others) {
      expect(Properties.LoggingConfiguration).toEqual({ DestinationBucketName: { Ref: target } });
    }
    const policies = all(of(), 'AWS::S3::BucketPolicy').filter(({ Properties }) => Properties.Bucket.Ref === target);
    const allowed = policies[0]!.Properties.PolicyDocument.Statement.filter((it: any) => it.Effect === 'Allow');
    expect(allowed).toEqual(
      others.map(([id]) => ({
        Effect: 'Allow',
        Principal: { Service: 'logging.s3.amazonaws.com' },
        Action: 's3:PutObject',
        Resource: { 'Fn::Join': ['', [{ 'Fn::GetAtt': [target, 'Arn'] }, '/*']] },
        Condition: {
          ArnLike: { 'aws:SourceArn': { 'Fn::GetAtt': [id, 'Arn'] } },
          StringEquals: { 'aws:SourceAccount': stage === 'local' ? '000000000000' : { Ref: 'AWS::AccountId' } },
        },
      })),
    );
  });

  test('no name is fixed, so that several stacks can coexist', () => {
    for (const [type, name] of [
      ['AWS::DynamoDB::GlobalTable', 'TableName'],
      ['AWS::Kinesis::Stream', 'Name'],
      ['AWS::Lambda::Function', 'FunctionName'],
      ['AWS::S3::Bucket', 'BucketName'],
      ['AWS::KinesisFirehose::DeliveryStream', 'DeliveryStreamName'],
      ['AWS::IAM::Role', 'RoleName'],
      ['AWS::Logs::LogGroup', 'LogGroupName'],
    ] as const) {
      for (const { Properties } of all(of(), type)) expect(Properties).not.toHaveProperty(name);
    }
  });

  test('no policy allows every action of a service, and none is AWS-managed', () => {
    const policies = [
      ...all(of(), 'AWS::IAM::Policy').map((it) => it.Properties.PolicyDocument),
      ...all(of(), 'AWS::IAM::Role').flatMap((it) => (it.Properties.Policies ?? []).map((p: any) => p.PolicyDocument)),
    ];
    const actions = policies.flatMap((it) => it.Statement.flatMap((statement: any) => statement.Action));
    expect(actions.length).toBeGreaterThan(20);
    for (const action of actions) expect(action).not.toMatch(/\*/);
    for (const role of all(of(), 'AWS::IAM::Role')) expect(role.Properties).not.toHaveProperty('ManagedPolicyArns');
  });

  test('the writer may append and nothing else', () => {
    const policies = Object.entries(of().findResources('AWS::IAM::Policy'));
    const [, writer] = policies.find(([id]) => id.startsWith('CommandsWriter'))!;
    const actions = (writer as Resource).Properties.PolicyDocument.Statement.flatMap((it: any) => it.Action);
    expect(new Set(actions)).toEqual(
      new Set(['logs:CreateLogStream', 'logs:PutLogEvents', 'dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Query']),
    );
  });

  test('the projector may read and save views, insert and update them with statements, and put history items', () => {
    const policies = Object.entries(of().findResources('AWS::IAM::Policy'));
    const [, projector] = policies.find(([id]) => id.startsWith('ProjectionProjector'))!;
    const statements = (projector as Resource).Properties.PolicyDocument.Statement as any[];
    const tables = statements.filter((it) => [it.Action].flat()[0].startsWith('dynamodb:'));
    const allowed = tables.map((it) => [it.Resource['Fn::GetAtt'][0].replace(/[0-9A-F]{8}$/, ''), [it.Action].flat()]);
    expect(Object.fromEntries(allowed)).toEqual({
      ProjectionAccounts: [
        'dynamodb:BatchGetItem',
        'dynamodb:GetItem',
        'dynamodb:PartiQLInsert',
        'dynamodb:PartiQLUpdate',
        'dynamodb:PutItem',
        'dynamodb:UpdateItem',
      ],
      ProjectionTransactions: ['dynamodb:BatchWriteItem'],
    });
  });

  test('the reconciler may find and repair, on the tables and indices that it needs', () => {
    const policies = Object.entries(of().findResources('AWS::IAM::Policy'));
    const [, reconciler] = policies.find(([id]) => id.startsWith('Reconciler'))!;
    const name = (resource: any): string => {
      if (resource === '*') return resource;
      const [base, ...rest] = resource['Fn::Join']?.[1] ?? [resource];
      return base['Fn::GetAtt'][0].replace(/[0-9A-F]{8}$/, '') + rest.join('');
    };
    const allowed = (reconciler as Resource).Properties.PolicyDocument.Statement.flatMap((it: any) =>
      [it.Resource].flat().map((resource: any) => [name(resource), [it.Action].flat()]),
    ) as [string, string[]][];
    const grouped: Record<string, string[]> = {};
    for (const [resource, actions] of allowed) {
      grouped[resource] = [...(grouped[resource] ?? []), ...actions];
    }
    for (const actions of Object.values(grouped)) actions.sort();
    expect(grouped).toEqual({
      ReconcilerLogs: ['logs:CreateLogStream', 'logs:PutLogEvents'],
      EventLogEvents: ['dynamodb:GetItem', 'dynamodb:Query', 'dynamodb:Scan'],
      DomainStreamCursors: [
        'dynamodb:BatchGetItem',
        'dynamodb:PartiQLInsert',
        'dynamodb:PartiQLUpdate',
        'dynamodb:UpdateItem',
      ],
      'DomainStreamCursors/index/Suspended': ['dynamodb:Query'],
      ProjectionAccounts: ['dynamodb:GetItem', 'dynamodb:UpdateItem'],
      'ProjectionAccounts/index/Stale': ['dynamodb:Query'],
      ReconcilerState: ['dynamodb:DeleteItem', 'dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Query'],
      DomainStream: ['kinesis:PutRecords'],
      DiscardedBatchesBucket: ['s3:ListBucket'],
      'DiscardedBatchesBucket/aws/lambda/*': ['s3:GetObject'],
      '*': ['lambda:ListEventSourceMappings'],
      DomainStreamTranslatorFunction: ['lambda:InvokeFunction'],
      ProjectionProjectorFunction: ['lambda:InvokeFunction'],
      LakeArchiverFunction: ['lambda:InvokeFunction'],
    });
    const list = (reconciler as Resource).Properties.PolicyDocument.Statement.find(
      (it: any) => it.Action === 's3:ListBucket',
    );
    expect(list.Condition).toEqual({ StringLike: { 's3:prefix': 'aws/lambda/*' } });
  });

  test('no other function may read an index', () => {
    const policies = JSON.stringify(
      Object.entries(of().findResources('AWS::IAM::Policy')).filter(([id]) => !id.startsWith('Reconciler')),
    );
    expect(policies).not.toContain('/index/');
  });

  test('a schedule invokes the reconciler, and a run that fails is not repeated', () => {
    const [rule, ...others] = all(of(), 'AWS::Events::Rule');
    expect(others).toEqual([]);
    expect(rule!.Properties).toMatchObject({ ScheduleExpression: 'rate(1 minute)', State: 'ENABLED' });
    const [target] = rule!.Properties.Targets;
    const function_ = target.Arn['Fn::GetAtt'][0];
    expect(of().toJSON().Resources[function_].Properties.Description).toBe(NAMES.functions.reconciler);
    of().hasResourceProperties('AWS::Lambda::Permission', {
      Action: 'lambda:InvokeFunction',
      FunctionName: { 'Fn::GetAtt': [function_, 'Arn'] },
      Principal: 'events.amazonaws.com',
    });
    of().hasResourceProperties('AWS::Lambda::EventInvokeConfig', {
      FunctionName: { Ref: function_ },
      MaximumRetryAttempts: 0,
      MaximumEventAgeInSeconds: 60,
    });
  });

  test('the environment of the reconciler names its tables, streams and functions', () => {
    const functions = all(of(), 'AWS::Lambda::Function').map(({ Properties }) => Properties);
    const reconciler = functions.find((it) => it.Description === NAMES.functions.reconciler)!;
    expect(reconciler.Timeout).toBe(300);
    const { Variables } = reconciler.Environment;
    const table = (prefix: string) => ({ Ref: expect.stringMatching(`^${prefix}[0-9A-F]{8}$`) });
    expect(Variables).toEqual({
      DEFAULT_CURRENCY: 'EUR',
      EVENTS_TABLE: table('EventLogEvents'),
      CURSOR_TABLE: table('DomainStreamCursors'),
      VIEW_TABLE: table('ProjectionAccounts'),
      STREAM_NAME: table('DomainStream'),
      RECONCILER_TABLE: table('ReconcilerState'),
      FAILURE_BUCKET: table('DiscardedBatchesBucket'),
      EVENTS_STREAM_ARN: { 'Fn::GetAtt': [expect.stringMatching(/^EventLogEvents/), 'StreamArn'] },
      STREAM_ARN: { 'Fn::GetAtt': [expect.stringMatching(/^DomainStream/), 'Arn'] },
      TRANSLATOR_FUNCTION: table('DomainStreamTranslatorFunction'),
      PROJECTOR_FUNCTION: table('ProjectionProjectorFunction'),
      ARCHIVER_FUNCTION: table('LakeArchiverFunction'),
    });
    // The reconciler checks the mappings of the streams that the consumers read.
    const sources = mappings(of()).map((it) => it.EventSourceArn);
    expect(sources).toContainEqual(Variables.EVENTS_STREAM_ARN);
    expect(sources).toContainEqual(Variables.STREAM_ARN);
  });

  test('queries go to the reader, and everything else to the writer', () => {
    const targets = Object.entries(of().findResources('AWS::ApiGatewayV2::Integration')).map(([id, it]) => [
      id,
      /^(Commands|Queries)/.exec(it.Properties.IntegrationUri['Fn::GetAtt'][0])![1],
    ]);
    const target = (route: any) => Object.fromEntries(targets)[route.Target['Fn::Join'][1][1].Ref];
    const routes = all(of(), 'AWS::ApiGatewayV2::Route').map((it) => [it.Properties.RouteKey, target(it.Properties)]);
    expect(Object.fromEntries(routes)).toEqual({
      $default: 'Commands',
      'POST /accounts': 'Commands',
      'POST /accounts/{accountId}/credit': 'Commands',
      'POST /accounts/{accountId}/withdraw': 'Commands',
      'GET /{proxy+}': 'Queries',
      'GET /accounts/{accountId}': 'Queries',
      'GET /accounts/{accountId}/transactions': 'Queries',
      'GET /accounts/{accountId}/balance': 'Queries',
    });
  });

  test('the access log contains the route and nothing of what a client sent', () => {
    const [stage] = all(of(), 'AWS::ApiGatewayV2::Stage');
    const format = JSON.parse(stage!.Properties.AccessLogSettings.Format) as Record<string, string>;
    expect(Object.values(format).sort()).toEqual([
      '$context.httpMethod',
      '$context.identity.caller',
      '$context.identity.sourceIp',
      '$context.integrationErrorMessage',
      '$context.requestId',
      '$context.requestTime',
      '$context.responseLatency',
      '$context.responseLength',
      '$context.routeKey',
      '$context.status',
    ]);
  });

  test('Firehose writes on behalf of this account only', () => {
    of().hasResourceProperties('AWS::IAM::Role', {
      AssumeRolePolicyDocument: {
        Statement: [
          {
            Effect: 'Allow',
            Action: 'sts:AssumeRole',
            Principal: { Service: 'firehose.amazonaws.com' },
            Condition: { StringEquals: { 'aws:SourceAccount': Match.anyValue() } },
          },
        ],
      },
    });
  });

  test('the lake has one folder per day, as its table describes', () => {
    of().hasResourceProperties('AWS::KinesisFirehose::DeliveryStream', {
      ExtendedS3DestinationConfiguration: { Prefix: Match.stringLikeRegexp('/dt=!{timestamp:yyyy-MM-dd}/$') },
    });
    of().hasResourceProperties('AWS::Glue::Table', {
      TableInput: {
        Name: 'events',
        PartitionKeys: [Match.objectLike({ Name: 'dt' })],
        Parameters: Match.objectLike({ 'projection.enabled': 'true', 'projection.dt.type': 'date' }),
      },
    });
  });

  test('the view that shows each event once', () => {
    const views = all(of(), 'AWS::Glue::Table').filter((it) => it.Properties.TableInput.TableType === 'VIRTUAL_VIEW');
    expect(views.map((it) => it.Properties.TableInput.Name)).toEqual(['domain_events']);
    const encoded = /Presto View: (\S+)/.exec(views[0]!.Properties.TableInput.ViewOriginalText)![1]!;
    const { originalSql } = JSON.parse(Buffer.from(encoded, 'base64').toString()) as { originalSql: string };
    expect(originalSql).toMatch(/PARTITION BY "id"/);
  });

  test('every function logs JSON into a group with a retention period', () => {
    for (const { Properties } of all(of(), 'AWS::Lambda::Function')) {
      expect(Properties.LoggingConfig).toMatchObject({ LogFormat: 'JSON' });
    }
    for (const { Properties } of all(of(), 'AWS::Logs::LogGroup')) expect(Properties.RetentionInDays).toBe(30);
  });
});

describe('the filter of new rows', () => {
  /** Lambda's rules, for the two operators at leaves that are used here. */
  const passes = (pattern: any, record: any): boolean =>
    Object.entries(pattern).every(([key, rule]) =>
      Array.isArray(rule) ? rule.some((condition) => leaf(condition, record?.[key])) : passes(rule, record?.[key]),
    );
  const leaf = (condition: any, value: any) => {
    if (typeof condition === 'string') return value === condition;
    if ('exists' in condition) return (typeof value === 'string') === condition.exists;
    return typeof value === 'string' && !condition['anything-but'].includes(value);
  };
  const patterns = (of: Template) =>
    fromDynamoDb(of)[0]!.FilterCriteria.Filters.map((it: any) => JSON.parse(it.Pattern));
  const row = (type: unknown, eventName = 'INSERT') => ({
    eventName,
    dynamodb: { NewImage: { Id: { S: 'a' }, ...(type === undefined ? {} : { Type: type }) } },
  });

  test.each([
    ['an event', row({ S: 'CREDIT' }), true],
    ['an unknown type', row({ S: 'CREDITED' }), true],
    ['a row without a type', row(undefined), true],
    ['a row whose type is a number', row({ N: '5' }), true],
    ['a snapshot', row({ S: 'SNAPSHOT' }), false],
    ['the settings row', row({ S: 'SETTINGS' }), false],
    ['a changed row', row({ S: 'CREDIT' }, 'MODIFY'), false],
    ['a removed row', row({ S: 'CREDIT' }, 'REMOVE'), false],
  ])('%s', (_, record, passed) => {
    expect(patterns(aws).some((pattern: any) => passes(pattern, record))).toBe(passed);
  });

  test('AWS gets the patterns that the simulation filters with, and no other', () => {
    const file = readFileSync(join(import.meta.dirname, '../lib/translator-filter.json'), 'utf8');
    expect(patterns(aws)).toEqual(JSON.parse(file));
  });

  test('the emulator gets one pattern more', () => {
    expect(patterns(local)).toEqual([...patterns(aws), expect.anything()]);
  });
});

test('the local stage can be deployed to the account of an emulator only', () => {
  expect(app({ stage: 'local' }).stack.account).toBe('000000000000');
  expect(Token.isUnresolved(app().stack.account)).toBe(true);
});

describe('what AWS has beyond the local stage', () => {
  test('calls are signed, unless a setting says otherwise', () => {
    for (const { Properties } of all(aws, 'AWS::ApiGatewayV2::Route'))
      expect(Properties.AuthorizationType).toBe('AWS_IAM');
    for (const { Properties } of all(local, 'AWS::ApiGatewayV2::Route'))
      expect(Properties.AuthorizationType).toBe('NONE');
  });

  test('resources with data are retained, and protected from deletion', () => {
    for (const type of ['AWS::DynamoDB::GlobalTable', 'AWS::S3::Bucket', 'AWS::Kinesis::Stream']) {
      for (const resource of all(aws, type)) expect(resource.DeletionPolicy).toBe('Retain');
      for (const resource of all(local, type)) expect(resource.DeletionPolicy).toBe('Delete');
    }
    for (const { Properties } of all(aws, 'AWS::DynamoDB::GlobalTable')) {
      expect(Properties.Replicas[0]).toMatchObject({
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      });
    }
  });

  test('the projector works on several batches of a shard', () => {
    expect(Math.max(...fromKinesis(aws).map((it) => it.ParallelizationFactor))).toBe(4);
  });

  test('the lake is buffered', () => {
    aws.hasResourceProperties('AWS::KinesisFirehose::DeliveryStream', {
      ExtendedS3DestinationConfiguration: { BufferingHints: { IntervalInSeconds: 300, SizeInMBs: 128 } },
    });
  });
});

describe('alarms', () => {
  const GAUGES = [
    'AggregatesBlocked',
    'AggregatesLagging',
    'AggregatesParked',
    'BatchesOpen',
    'MappingsUnhealthy',
    'OldestUnpublished',
    'ViewsStale',
  ];
  const alarms = (of: Template) => all(of, 'AWS::CloudWatch::Alarm').map(({ Properties }) => Properties);
  const isGauge = (alarm: any) => {
    const [dimension] = alarm.Dimensions;
    return alarm.Namespace === 'Millrace' && /^Reconciler/.test(dimension.Value?.Ref ?? '');
  };

  test('each says what to do, and none has an action unless a topic is set', () => {
    expect(alarms(aws)).toHaveLength(32);
    for (const alarm of alarms(aws)) {
      expect(alarm.AlarmDescription).toMatch(/What to do: docs\/runbook\.md#[a-z]+$/);
      expect(alarm).not.toHaveProperty('AlarmActions');
    }
  });

  test('a gauge is a level of the reconciler, and missing data is breaching', () => {
    const gauges = alarms(aws).filter(isGauge);
    expect(gauges.map((it) => it.MetricName).sort()).toEqual(GAUGES);
    for (const alarm of gauges) {
      expect(alarm).toMatchObject({
        TreatMissingData: 'breaching',
        Statistic: 'Maximum',
        ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      });
      expect(alarm.AlarmDescription).toContain(`#${alarm.MetricName.toLowerCase()}`);
    }
    // The metrics of a batch don't describe the time after the batch.
    for (const name of GAUGES) expect(alarms(aws).filter((it) => it.MetricName === name)).toHaveLength(1);
  });

  test('without traffic no other alarm goes off', () => {
    for (const alarm of alarms(aws).filter((it) => !isGauge(it))) expect(alarm.TreatMissingData).toBe('notBreaching');
  });

  test.each([
    [1, 6 * 60],
    [15, 20 * 60],
    [60, 65 * 60],
  ])('with %i minutes between runs, each period of a gauge contains a report', (reconcilerMinutes, period) => {
    const gauges = alarms(template({ reconcilerMinutes })).filter(isGauge);
    expect(new Set(gauges.map((it) => it.Period))).toEqual(new Set([period]));
    for (const alarm of gauges) {
      const parking = alarm.MetricName === 'AggregatesParked' ? Math.max(1, Math.ceil((30 * 60) / period)) : 1;
      expect(alarm.EvaluationPeriods).toBe(parking);
    }
  });

  test('one problem raises an alarm, and an event that is unpublished for an hour does too', () => {
    const thresholds = Object.fromEntries(
      alarms(aws)
        .filter(isGauge)
        .map((it) => [it.MetricName, it.Threshold]),
    );
    const one = Object.fromEntries(GAUGES.map((name) => [name, 1]));
    expect(thresholds).toEqual({ ...one, OldestUnpublished: 3_600_000 });
  });

  test('a discarded batch that could not be stored raises an alarm', () => {
    const failures = alarms(aws).filter((it) => it.MetricName === 'DestinationDeliveryFailures');
    expect(failures.map((it) => it.Dimensions[0].Value.Ref.replace(/Function[0-9A-F]{8}$/, '')).sort()).toEqual([
      'DomainStreamTranslator',
      'LakeArchiver',
      'ProjectionProjector',
    ]);
    for (const alarm of failures) {
      expect(alarm).toMatchObject({ Namespace: 'AWS/Lambda', Statistic: 'Sum', Threshold: 1, EvaluationPeriods: 1 });
    }
  });

  test('failed runs of the reconciler raise an alarm', () => {
    const ofReconciler = alarms(aws).filter(
      (it) => !isGauge(it) && JSON.stringify(it.Dimensions).includes('"Reconciler'),
    );
    expect(ofReconciler.map((it) => it.MetricName).sort()).toEqual(['Errors', 'Throttles']);
  });

  test('the dashboard begins with the gauges', () => {
    const [dashboard] = all(aws, 'AWS::CloudWatch::Dashboard');
    const body = dashboard!.Properties.DashboardBody['Fn::Join'][1]
      .map((part: any) => (typeof part === 'string' ? part : 'token'))
      .join('');
    const { widgets } = JSON.parse(body) as { widgets: { y: number; properties: { metrics: [string, string][] } }[] };
    const first = widgets.filter(({ y }) => y === 0).flatMap(({ properties }) => properties.metrics);
    expect(first.map(([, name]) => name).sort()).toEqual(GAUGES);
  });

  test('they go off long before a stream deletes its records', () => {
    const ages = all(aws, 'AWS::CloudWatch::Alarm').filter((it) => it.Properties.MetricName === 'IteratorAge');
    expect(ages.map((it) => it.Properties.Threshold)).toEqual([3_600_000, 3_600_000, 3_600_000]);
  });

  test('they notify the topic that is set', () => {
    const alarmTopic = 'arn:aws:sns:eu-north-1:123456789012:pager';
    const set = template({ alarmTopic, runbook: 'https://example.org/runbook' });
    for (const { Properties } of all(set, 'AWS::CloudWatch::Alarm')) {
      expect(Properties).toMatchObject({ AlarmActions: [alarmTopic], OKActions: [alarmTopic] });
      expect(Properties.AlarmDescription).toMatch(/https:\/\/example\.org\/runbook#/);
    }
  });

  test('mappings count the records that they discard', () => {
    for (const mapping of mappings(aws)) expect(mapping.MetricsConfig).toEqual({ Metrics: ['EventCount'] });
  });
});

test('a batch is retried until two hours before its stream deletes it, and for 7 days at most', () => {
  const hours = (mapping: Record<string, any>) => mapping.MaximumRecordAgeInSeconds / 3600;
  for (const [retentionHours, expected] of [
    [168, 166],
    [24, 22],
    [8760, 168],
  ]) {
    const set = template({ retentionHours, retryAttempts: 3 });
    expect(fromDynamoDb(set).map(hours)).toEqual([22]);
    expect(fromKinesis(set).map(hours)).toEqual([expected, expected]);
    expect(mappings(set).map((mapping) => mapping.MaximumRetryAttempts)).toEqual([3, 3, 3]);
  }
});

test('every setting changes its resource', () => {
  const set = template({
    architecture: 'x86_64',
    removalPolicy: 'destroy',
    retentionHours: 24,
    shardMode: 'provisioned',
    shards: 2,
    defaultCurrency: 'CHF',
    logRetentionDays: 7,
    reconcilerMinutes: 5,
    lakeFormat: 'json',
  });
  for (const { Properties } of all(set, 'AWS::Lambda::Function')) expect(Properties.Architectures).toEqual(['x86_64']);
  set.hasResourceProperties('AWS::Kinesis::Stream', { RetentionPeriodHours: 24, ShardCount: 2 });
  for (const { Properties } of all(set, 'AWS::Kinesis::Stream')) {
    expect(Properties).not.toHaveProperty('RecordDistributionStrategy');
  }
  set.hasResourceProperties('AWS::Lambda::Function', {
    Environment: { Variables: Match.objectLike({ DEFAULT_CURRENCY: 'CHF' }) },
  });
  set.hasResource('AWS::DynamoDB::GlobalTable', { DeletionPolicy: 'Delete' });
  set.hasResourceProperties('AWS::Events::Rule', { ScheduleExpression: 'rate(5 minutes)' });
  set.hasOutput('ReconcilerMinutes', { Value: '5' });
  set.hasResourceProperties('AWS::Glue::Table', {
    TableInput: { Parameters: Match.objectLike({ classification: 'json' }) },
  });
});

test('with enhanced fan-out the projector reads through a consumer of the stream, and the reconciler watches its mapping', () => {
  const set = template({ enhancedFanOut: true });
  const consumers = set.findResources('AWS::Kinesis::StreamConsumer');
  const [consumer] = Object.keys(consumers);
  expect(Object.keys(consumers)).toHaveLength(1);
  const sources = all(set, 'AWS::Lambda::EventSourceMapping').map(({ Properties }) => Properties.EventSourceArn);
  const arn = { 'Fn::GetAtt': [consumer, 'ConsumerARN'] };
  expect(sources).toContainEqual(arn);
  set.hasResourceProperties('AWS::Lambda::Function', {
    Environment: { Variables: Match.objectLike({ STREAM_CONSUMER_ARN: arn }) },
  });
  const statements = all(set, 'AWS::IAM::Policy').flatMap(({ Properties }) => Properties.PolicyDocument.Statement);
  const subscribing = statements.filter(({ Action }) => [Action].flat().includes('kinesis:SubscribeToShard'));
  expect(subscribing.map(({ Resource }) => Resource)).toContainEqual(arn);
  expect(template().findResources('AWS::Kinesis::StreamConsumer')).toEqual({});
});

test('with active tracing Lambda records the invocations of all functions, and of none without', () => {
  const set = template({ activeTracing: true });
  const functions = all(set, 'AWS::Lambda::Function');
  for (const { Properties } of functions) expect(Properties.TracingConfig).toEqual({ Mode: 'Active' });
  const statements = all(set, 'AWS::IAM::Policy').flatMap(({ Properties }) => Properties.PolicyDocument.Statement);
  const recording = statements.filter(({ Action }) => [Action].flat().includes('xray:PutTraceSegments'));
  expect(recording).toHaveLength(functions.length);
  const untraced = JSON.stringify(template().toJSON());
  expect(untraced).not.toContain('TracingConfig');
  expect(untraced).not.toContain('xray');
});

test('the writer is updated after the functions that publish what it writes', () => {
  const functions = template().findResources('AWS::Lambda::Function');
  const named = (name: string) => Object.keys(functions).find((id) => id.includes(name))!;
  const { DependsOn } = functions[named('Writer')]!;
  expect(DependsOn).toContain(named('Translator'));
  expect(DependsOn).toContain(named('ReconcilerFunction'));
});
