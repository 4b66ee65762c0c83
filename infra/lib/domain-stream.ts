/**
 * The domain stream: what the outside sees, and the translator that feeds it from the event log.
 */
import { Duration, RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as kinesis from 'aws-cdk-lib/aws-kinesis';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { Construct } from 'constructs';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { Domain } from './domain.ts';
import type { EventLog } from './event-log.ts';
import { DYNAMODB_STREAM_RETENTION, mappingDefaults } from './mapping.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';
import { STAGES } from './stage.ts';
import { Table } from './table.ts';
import filter from './translator-filter.json' with { type: 'json' };

export interface DomainStreamProps {
  readonly settings: Settings;
  /** Its settings are in the translator's environment. */
  readonly domain: Domain;
  readonly eventLog: EventLog;
  readonly discarded: DiscardedBatches;
}

export class DomainStream extends Construct {
  /** One CloudEvent per event; the partition key is the aggregate's id. */
  readonly stream: kinesis.Stream;
  /** The publication cursors, one item per aggregate: `Id`. */
  readonly cursors: Table;
  readonly translator: RustFunction;
  /** What hands rows to the translator. */
  readonly mapping: DynamoEventSource;

  constructor(scope: Construct, id: string, { settings, domain, eventLog, discarded }: DomainStreamProps) {
    super(scope, id);

    this.stream = domainStream(this, settings);

    this.cursors = new Table(this, 'Cursors', {
      settings,
      role: 'cursors',
      partitionKey: { name: 'Id', type: dynamodb.AttributeType.STRING },
      // The aggregates whose publication is suspended: `blocked/0` to `blocked/7`, `parked/0` to `parked/7`.
      markedItems: { indexName: 'Suspended', partitionKey: 'SuspendedIn', sortKey: 'SuspendedSince' },
    });

    this.translator = new RustFunction(this, 'Translator', {
      settings,
      name: 'translator',
      environment: {
        ...domain.environment,
        EVENTS_TABLE: eventLog.events.tableName,
        CURSOR_TABLE: this.cursors.tableName,
        STREAM_NAME: this.stream.streamName,
      },
      // Long enough to sit out throttling and to fill a gap of a few thousand rows; what isn't
      // through by then is reported, and comes again.
      timeout: Duration.seconds(60),
      memoryMB: 1024,
    });
    const { handler } = this.translator;
    eventLog.events.grant(handler, 'dynamodb:Query', 'dynamodb:GetItem');
    this.cursors.grant(handler, 'dynamodb:BatchGetItem', 'dynamodb:UpdateItem');
    this.stream.grant(handler, 'kinesis:PutRecords');

    // The stream's only reader: DynamoDB serves two per shard and throttles beyond. Whoever wants
    // the events reads Kinesis.
    // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
    this.mapping = new DynamoEventSource(eventLog.events, {
      ...mappingDefaults(settings, discarded, DYNAMODB_STREAM_RETENTION),
      filters: newEventRows(settings).map((pattern) => lambda.FilterCriteria.filter(pattern)),
      // Above 1, order holds per item only, and each event is an item of its own.
      parallelizationFactor: 1,
      // A call of this size fits Lambda's 6 MB by far (rows of about 700 bytes), and makes two
      // or three full PutRecords calls of 500 records.
      // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
      batchSize: 1000,
    });
    handler.addEventSource(this.mapping);
  }
}

function domainStream(scope: Construct, settings: Settings): kinesis.Stream {
  const { capacity } = settings;
  const stream = new kinesis.Stream(scope, 'Stream', {
    retentionPeriod: Duration.hours(settings.retentionHours),
    removalPolicy: settings.removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    // The key AWS manages for Kinesis. A consumer in another AWS account needs a customer key instead,
    // because that one can't be shared.
    // https://docs.aws.amazon.com/streams/latest/dev/what-is-sse.html
    encryption: kinesis.StreamEncryption.MANAGED,
    ...(capacity.mode === 'on-demand'
      ? { streamMode: kinesis.StreamMode.ON_DEMAND }
      : { streamMode: kinesis.StreamMode.PROVISIONED, shardCount: capacity.shards }),
  });
  if (capacity.mode === 'on-demand') {
    // AUTO would spread records over the shards whatever their key, and order would be gone. User
    // keys are the default; said here, so that a deployment puts back what somebody has switched.
    // Provisioned streams know no other strategy, and refuse the property.
    // https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateStreamRecordDistributionStrategy.html
    const resource = stream.node.defaultChild as kinesis.CfnStream;
    resource.recordDistributionStrategy = 'USER_PARTITION_KEY';
    Validations.of(resource).acknowledge({
      id: 'CloudFormation-Validate::F3002',
      reason: "The validator that comes with this CDK is older than the property; CloudFormation's own schema has it.",
    });
  }
  return stream;
}

/** The patterns on AWS, as they are: also what the simulation of the functions filters with. */
const NEW_EVENT_ROWS: Record<string, unknown>[] = filter;

/**
 * Passes every INSERT that is neither a snapshot nor the settings row. A record passes if any
 * pattern matches.
 *
 * It takes two: `anything-but` matches only where there is a string to compare, so by itself it
 * would drop, without a trace, a row whose `Type` is missing or isn't a string. Such a row has to
 * reach the translator, which then blocks the aggregate and reports the row.
 *
 * `exists` looks at leaves only, hence at `Type.S` and never at `Type`. On `Type`, which is no
 * leaf, `exists: false` would hold for every record.
 * https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html#filtering-ddb-exists
 * https://github.com/aws/event-ruler#exists-matching
 *
 * The emulator reads the second pattern otherwise: where `Type` is missing altogether, it doesn't
 * look for `Type.S` at all. It gets a third, which AWS must not get.
 *
 * The filter saves invocations, no more. The translator checks each record itself.
 */
function newEventRows(settings: Settings): Record<string, unknown>[] {
  if (!STAGES[settings.stage].filterNamesMissingParents) return NEW_EVENT_ROWS;
  const withoutType = { eventName: ['INSERT'], dynamodb: { NewImage: { Type: [{ exists: false }] } } };
  return [...NEW_EVENT_ROWS, withoutType];
}
