/** The properties that all event source mappings of streams share, such as the bound of their retries. */
import { Duration } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type { StreamEventSourceProps } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { DiscardedBatches } from './discarded-batches.ts';
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
