/** What every event source mapping over a stream has in common: an end to its retries. */
import { Duration } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type { StreamEventSourceProps } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { DiscardedBatches } from './discarded-batches.ts';

/**
 * Read from the beginning, and retry finitely: what is given up ends at `discarded`.
 *
 * A failed batch is retried until one of the two limits, and holds the shard up to then. By
 * default there is none, and Lambda retries until the record is forgotten: by DynamoDB's stream
 * after 24 hours, by a Kinesis stream after as many at least. So: below that, with time left to
 * look at what was discarded.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
 */
export function mappingDefaults(discarded: DiscardedBatches) {
  return {
    // LATEST can miss what is written while a mapping is created or changed.
    // https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    startingPosition: lambda.StartingPosition.TRIM_HORIZON,
    retryAttempts: 100,
    maxRecordAge: Duration.hours(12),
    bisectBatchOnError: true,
    reportBatchItemFailures: true,
    onFailure: discarded,
    // What was polled, dropped and discarded, which nothing else counts.
    metricsConfig: { metrics: [lambda.MetricType.EVENT_COUNT] },
  } satisfies StreamEventSourceProps;
}
