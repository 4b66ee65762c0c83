/** The event source mappings of streams: the properties that all of them share, their metrics and their alarms. */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type {
  DynamoEventSource,
  KinesisConsumerEventSource,
  KinesisEventSource,
  StreamEventSourceProps,
} from 'aws-cdk-lib/aws-lambda-event-sources';
import type { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import { type NamedFunction, sectionOf } from './invocation-alarms.ts';
import type { RustFunction } from './rust-function.ts';

/**
 * The retention period of DynamoDB's stream.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
 */
export const DYNAMODB_STREAM_RETENTION = Duration.hours(24);

/**
 * Between a mapping's age limit and the stream's retention: the time for the last attempt, for bisecting
 * the batch and for writing it to the failure destination, before the stream deletes its records.
 */
const MARGIN = Duration.hours(2);

/**
 * The highest age limit that Lambda accepts.
 * https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
 */
const MAX_RECORD_AGE = Duration.days(7);

/**
 * The maximum age of the records that a reader of a stream processes. DynamoDB's stream deletes records after
 * 24 hours, and the translator's mapping discards a batch after 22, so one hour leaves time for a repair.
 */
export const MAX_ITERATOR_AGE = Duration.hours(1);

/** A mapping of either kind of stream. */
export type StreamMapping = DynamoEventSource | KinesisEventSource | KinesisConsumerEventSource;

/** What the properties of a mapping depend on. */
export interface MappingOptions {
  /** The retention period of the stream, at least 3 hours. */
  readonly retention: Duration;
  /**
   * How often Lambda retries a failed batch before it discards it, -1 to 10,000.
   * @default -1: until the batch's records reach the age limit
   */
  readonly retryAttempts?: number;
  /** The failure destination: where Lambda writes a batch that it discards. */
  readonly onFailure: lambda.IEventSourceDlq;
}

/**
 * Reads from the beginning, and retries a failed batch until its records have an age below the stream's
 * retention; then the batch is discarded to `onFailure`. Until then, a failed batch blocks its shard. The age
 * limit tolerates an outage of a fixed duration, no matter how fast each attempt fails: a number of attempts
 * (`retryAttempts`, unlimited by default) is used up within minutes while a permission is
 * missing. Without a limit, Lambda would retry until the stream deletes the records, and they would be lost.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
 */
export function mappingDefaults({ retention, retryAttempts = -1, onFailure }: MappingOptions) {
  const maxRecordAge = Math.min(retention.toHours() - MARGIN.toHours(), MAX_RECORD_AGE.toHours());
  return {
    // LATEST can skip records that are written while a mapping is created or changed.
    // https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    startingPosition: lambda.StartingPosition.TRIM_HORIZON,
    retryAttempts,
    maxRecordAge: Duration.hours(maxRecordAge),
    bisectBatchOnError: true,
    reportBatchItemFailures: true,
    onFailure,
    // The numbers of polled, filtered and discarded records, which no other metric has.
    metricsConfig: { metrics: [lambda.MetricType.EVENT_COUNT] },
  } satisfies StreamEventSourceProps;
}

/** Lets `mapping` invoke `reader` with the records of a stream, and adds the alarms on the two. */
export function addMapping(reader: RustFunction, mapping: StreamMapping, alarms: MillraceAlarms): void {
  reader.handler.addEventSource(mapping);
  addReaderAlarms(reader, { reader, mapping, alarms });
}

/** The identifier of a mapping, by which CloudWatch distinguishes the metrics of mappings. */
export type MappingId = Pick<lambda.IEventSourceMapping, 'eventSourceMappingId'>;

export interface ReaderAlarmsProps {
  /** The function that reads the stream. */
  readonly reader: NamedFunction;
  /** The mapping that invokes it. */
  readonly mapping: MappingId;
  /** The registry that gets the alarms. */
  readonly alarms: MillraceAlarms;
  /**
   * The maximum age of the records that the function processes.
   * @default - one hour
   */
  readonly maxIteratorAge?: Duration | undefined;
}

/** Adds the alarms on a function that reads a stream, and on its mapping, to `scope`. */
export function addReaderAlarms(scope: Construct, props: ReaderAlarmsProps): void {
  const { reader, mapping, alarms, maxIteratorAge = MAX_ITERATOR_AGE } = props;
  const { name } = reader;
  alarms.add(scope, 'IteratorAge', {
    section: sectionOf(reader, 'IteratorAge'),
    metric: iteratorAge(reader),
    threshold: maxIteratorAge.toMilliseconds(),
    means: `The ${name} lags its stream, which deletes records at the end of its retention period.`,
  });
  alarms.add(scope, 'Discarded', {
    section: sectionOf(reader, 'Discarded'),
    metric: discardedRecords(mapping),
    threshold: 1,
    means: `Lambda has discarded records of the ${name} and has written them to the failure bucket.`,
  });
  alarms.add(scope, 'DestinationFails', {
    section: sectionOf(reader, 'DestinationFails'),
    metric: destinationFailures(reader),
    threshold: 1,
    means: `Lambda could not write a discarded batch of the ${name} to the failure bucket.`,
  });
}

/** The age of the oldest record of a batch when the function receives it, in milliseconds. */
export function iteratorAge({ handler }: NamedFunction): cloudwatch.Metric {
  return handler.metric('IteratorAge', { statistic: 'Maximum' });
}

/**
 * The number of records that a mapping has discarded and Lambda has written to the failure bucket.
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
 */
export function discardedRecords({ eventSourceMappingId }: MappingId): cloudwatch.Metric {
  return new cloudwatch.Metric({
    namespace: 'AWS/Lambda',
    metricName: 'OnFailureDestinationDeliveredEventCount',
    dimensionsMap: { EventSourceMappingUUID: eventSourceMappingId },
    statistic: 'Sum',
  });
}

/**
 * Discarded batches of a function that Lambda could not write to the failure bucket. Only this
 * metric and the lagging aggregates show them.
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#invocation-metrics
 */
export function destinationFailures({ handler }: NamedFunction): cloudwatch.Metric {
  return handler.metric('DestinationDeliveryFailures', { statistic: 'Sum' });
}
