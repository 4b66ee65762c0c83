/**
 * The domain stream, which other teams read, and the translator, which publishes the rows of the event log to
 * it.
 */
import { Duration, Validations } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as kinesis from 'aws-cdk-lib/aws-kinesis';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { Domain } from './domain.ts';
import type { EventLog } from './event-log.ts';
import { addMapping, DYNAMODB_STREAM_RETENTION, mappingDefaults } from './mapping.ts';
import { RustFunction } from './rust-function.ts';
import { removalPolicy, type Settings } from './settings.ts';
import { STAGES } from './stage.ts';
import { StreamAccess, streamKey } from './stream-access.ts';
import { Table } from './table.ts';
import filter from './translator-filter.json' with { type: 'json' };

/** What a function that publishes does with the cursors. PartiQL statements save several in one call. */
export const CURSOR_ACTIONS = [
  'dynamodb:BatchGetItem',
  'dynamodb:UpdateItem',
  'dynamodb:PartiQLInsert',
  'dynamodb:PartiQLUpdate',
];

export interface DomainStreamProps {
  /** The stack's settings. They determine the stream's capacity and retention, and the retries of the mapping. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the translator and its mapping. */
  readonly alarms: MillraceAlarms;
  /** The domain. The translator's environment contains its settings. */
  readonly domain: Domain;
  /** The event log. The translator reads the stream of its events table, and repairs gaps from the table. */
  readonly eventLog: EventLog;
  /** The failure destination of the mapping that invokes the translator. */
  readonly discarded: DiscardedBatches;
}

export class DomainStream extends Construct {
  /** One CloudEvent per event; the partition key is the aggregate's id. */
  readonly stream: kinesis.Stream;
  /** Who may write to the stream, and who may read it from other AWS accounts. */
  readonly access: StreamAccess;
  /** The publication cursors, one item per aggregate: `Id`. */
  readonly cursors: Table;
  readonly translator: RustFunction;
  /** The event source mapping that invokes the translator with rows. */
  readonly mapping: DynamoEventSource;

  constructor(scope: Construct, id: string, props: DomainStreamProps) {
    super(scope, id);
    const { settings, alarms, domain, eventLog, discarded } = props;

    this.stream = domainStream(this, settings);
    this.access = new StreamAccess(this.stream, settings);

    this.cursors = new Table(this, 'Cursors', {
      settings,
      role: 'cursors',
      partitionKey: { name: 'Id', type: dynamodb.AttributeType.STRING },
      // The aggregates whose publication is suspended: `blocked/0` to `blocked/7`, `parked/0` to `parked/7`.
      markedItems: { indexName: 'Suspended', partitionKey: 'SuspendedIn', sortKey: 'SuspendedSince' },
    });

    this.translator = new RustFunction(this, 'Translator', {
      settings,
      alarms,
      name: 'translator',
      environment: {
        ...domain.environment,
        EVENTS_TABLE: eventLog.events.tableName,
        CURSOR_TABLE: this.cursors.tableName,
        STREAM_NAME: this.stream.streamName,
      },
      // Long enough to wait for the end of throttling and to repair a gap of a few thousand rows. Incomplete
      // records are reported, and Lambda delivers them again.
      timeout: Duration.seconds(60),
      memoryMB: 1024,
    });
    const { handler } = this.translator;
    eventLog.events.grant(handler, 'dynamodb:Query', 'dynamodb:GetItem');
    this.cursors.grant(handler, ...CURSOR_ACTIONS);
    this.access.grantPublish(handler);

    // The translator is the stream's only reader, because DynamoDB throttles more than two readers per shard.
    // Other consumers of events read Kinesis.
    // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
    this.mapping = new DynamoEventSource(eventLog.events, {
      ...mappingDefaults({
        retention: DYNAMODB_STREAM_RETENTION,
        retryAttempts: settings.retryAttempts,
        onFailure: discarded,
      }),
      filters: newEventRows(settings).map((pattern) => lambda.FilterCriteria.filter(pattern)),
      // Above 1, Lambda keeps the order per item only, and each event is a separate item.
      parallelizationFactor: 1,
      // A batch of this size is far below Lambda's limit of 6 MB (rows have about 700 bytes), and leads to
      // two or three full PutRecords calls of 500 records.
      // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
      batchSize: 1000,
    });
    addMapping(this.translator, this.mapping, alarms);
  }
}

function domainStream(scope: Construct, settings: Settings): kinesis.Stream {
  const { capacity } = settings;
  const encryptionKey = streamKey(scope, settings);
  const stream = new kinesis.Stream(scope, 'Stream', {
    retentionPeriod: Duration.hours(settings.retentionHours),
    removalPolicy: removalPolicy(settings),
    // By default, the key that AWS manages for Kinesis. It can't be shared: a consumer in another AWS account needs
    // a customer-managed key instead.
    // https://docs.aws.amazon.com/streams/latest/dev/what-is-sse.html
    ...(encryptionKey
      ? { encryption: kinesis.StreamEncryption.KMS, encryptionKey }
      : { encryption: kinesis.StreamEncryption.MANAGED }),
    ...(capacity.mode === 'on-demand'
      ? { streamMode: kinesis.StreamMode.ON_DEMAND }
      : { streamMode: kinesis.StreamMode.PROVISIONED, shardCount: capacity.shards }),
  });
  if (encryptionKey) {
    Validations.of(stream).acknowledge({
      id: 'AwsSolutions::AwsSolutions-KDS3',
      reason:
        'The setting streamKey asks for a customer-managed key, because other AWS accounts may not use the AWS key.',
    });
  }
  if (capacity.mode === 'on-demand') {
    // With AUTO, Kinesis would ignore the partition keys, and records of one aggregate would lose their
    // order. The default is USER_PARTITION_KEY. It is set explicitly, so that a deployment reverts a manual
    // change. Provisioned streams have no other strategy, and refuse the property.
    // https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateStreamRecordDistributionStrategy.html
    const resource = stream.node.defaultChild as kinesis.CfnStream;
    resource.recordDistributionStrategy = 'USER_PARTITION_KEY';
    Validations.of(resource).acknowledge({
      id: 'CloudFormation-Validate::F3002',
      reason:
        "The validator of this CDK version is older than the property, which CloudFormation's own schema contains.",
    });
  }
  return stream;
}

/** The patterns on AWS. The simulation of the functions evaluates the same ones. */
const NEW_EVENT_ROWS: Record<string, unknown>[] = filter;

/**
 * Passes every INSERT that is neither a snapshot nor the settings row. A record passes if any
 * pattern matches.
 *
 * Two patterns are needed. `anything-but` matches only a string, so alone it would silently drop a row whose
 * `Type` is missing or isn't a string. Such a row must reach the translator, which then blocks the aggregate
 * and reports the row.
 *
 * `exists` examines leaves only, so it is applied to `Type.S`. `Type` isn't a leaf, so `exists: false` on it
 * would match every record.
 * https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html#filtering-ddb-exists
 * https://github.com/aws/event-ruler#exists-matching
 *
 * The emulator evaluates the second pattern differently: if `Type` is missing, `Type.S` doesn't match. So the
 * emulator gets a third pattern, which AWS must not get.
 *
 * The filter only saves invocations. The translator checks each record itself.
 */
function newEventRows(settings: Settings): Record<string, unknown>[] {
  if (!STAGES[settings.stage].filterNamesMissingParents) return NEW_EVENT_ROWS;
  const withoutType = { eventName: ['INSERT'], dynamodb: { NewImage: { Type: [{ exists: false }] } } };
  return [...NEW_EVENT_ROWS, withoutType];
}
