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
import type { MillraceAlarms } from './alarms.ts';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

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

/**
 * Reads from the beginning, and retries a failed batch until its records have an age below the stream's
 * retention; then the batch is discarded to `discarded`. Until then, a failed batch blocks its shard. The age
 * limit tolerates an outage of a fixed duration, no matter how fast each attempt fails: a number of attempts
 * (the setting `retryAttempts`, unlimited by default) is used up within minutes while a permission is
 * missing. Without a limit, Lambda would retry until the stream deletes the records, and they would be lost.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
 */
export function mappingDefaults(settings: Settings, discarded: DiscardedBatches, retention: Duration) {
  const maxRecordAge = Math.min(retention.toHours() - MARGIN.toHours(), MAX_RECORD_AGE.toHours());
  return {
    // LATEST can skip records that are written while a mapping is created or changed.
    // https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    startingPosition: lambda.StartingPosition.TRIM_HORIZON,
    retryAttempts: settings.retryAttempts,
    maxRecordAge: Duration.hours(maxRecordAge),
    bisectBatchOnError: true,
    reportBatchItemFailures: true,
    onFailure: discarded,
    // The numbers of polled, filtered and discarded records, which no other metric has.
    metricsConfig: { metrics: [lambda.MetricType.EVENT_COUNT] },
  } satisfies StreamEventSourceProps;
}

/** Lets `mapping` invoke `reader` with the records of a stream, and adds the alarms on the two. */
export function addMapping(reader: RustFunction, mapping: StreamMapping, alarms: MillraceAlarms): void {
  reader.handler.addEventSource(mapping);
  const { name } = reader;
  alarms.add(reader, 'IteratorAge', {
    section: `${name}IteratorAge`,
    metric: iteratorAge(reader),
    threshold: MAX_ITERATOR_AGE.toMilliseconds(),
    means: `The ${name} lags its stream, which deletes records at the end of its retention period.`,
  });
  alarms.add(reader, 'Discarded', {
    section: `${name}Discarded`,
    metric: discardedRecords(mapping),
    threshold: 1,
    means: `Lambda has discarded records of the ${name} and has written them to the failure bucket.`,
  });
  alarms.add(reader, 'DestinationFails', {
    section: `${name}DestinationFails`,
    metric: destinationFailures(reader),
    threshold: 1,
    means: `Lambda could not write a discarded batch of the ${name} to the failure bucket.`,
  });
}

/** The age of the oldest record of a batch when the function receives it, in milliseconds. */
export function iteratorAge({ handler }: RustFunction): cloudwatch.Metric {
  return handler.metric('IteratorAge', { statistic: 'Maximum' });
}

/**
 * The number of records that a mapping has discarded and Lambda has written to the failure bucket.
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
 */
export function discardedRecords({ eventSourceMappingId }: StreamMapping): cloudwatch.Metric {
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
export function destinationFailures({ handler }: RustFunction): cloudwatch.Metric {
  return handler.metric('DestinationDeliveryFailures', { statistic: 'Sum' });
}
