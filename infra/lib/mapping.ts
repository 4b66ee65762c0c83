/** What every event source mapping over a stream has in common: an end to its retries. */
import { Duration } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type { StreamEventSourceProps } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { Settings } from './settings.ts';

/**
 * How long DynamoDB's stream keeps a record.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
 */
export const DYNAMODB_STREAM_RETENTION = Duration.hours(24);

/**
 * Between a mapping's age limit and the stream's retention: the time for the last attempt, for bisecting
 * the batch and for writing it to the failure destination, before the stream deletes its records.
 */
const MARGIN = Duration.hours(2);

/**
 * The highest age limit that Lambda takes.
 * https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
 */
const MAX_RECORD_AGE = Duration.days(7);

/**
 * Reads from the beginning, and retries a failed batch until its records have an age below the stream's
 * retention; then the batch is discarded to `discarded`. A failed batch holds its shard up to then. The
 * age bounds an outage by time, however fast each attempt fails: a number of attempts (the setting
 * `retryAttempts`, endless by default) is used up within minutes while a permission is missing. Without a
 * bound Lambda would retry until the stream deletes the records, and no one would have them.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
 */
export function mappingDefaults(settings: Settings, discarded: DiscardedBatches, retention: Duration) {
  const maxRecordAge = Math.min(retention.toHours() - MARGIN.toHours(), MAX_RECORD_AGE.toHours());
  return {
    // LATEST can miss what is written while a mapping is created or changed.
    // https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    startingPosition: lambda.StartingPosition.TRIM_HORIZON,
    retryAttempts: settings.retryAttempts,
    maxRecordAge: Duration.hours(maxRecordAge),
    bisectBatchOnError: true,
    reportBatchItemFailures: true,
    onFailure: discarded,
    // What was polled, dropped and discarded, which nothing else counts.
    metricsConfig: { metrics: [lambda.MetricType.EVENT_COUNT] },
  } satisfies StreamEventSourceProps;
}
