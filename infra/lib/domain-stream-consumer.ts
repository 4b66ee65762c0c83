/** How a function of ours reads the domain stream. */
import { Duration } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { KinesisEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { DomainStream } from './domain-stream.ts';
import type { RustFunction } from './rust-function.ts';

export interface ConsumerOptions {
  /** The most records in one invocation; 10,000 or 6 MB, whichever comes first. */
  readonly batchSize: number;
  /** Batches of one shard at once, 1 to 10. */
  readonly parallelizationFactor: number;
  /** How long to gather records for a batch; at most 5 minutes. */
  readonly window?: Duration;
}

/**
 * Lets `consumer` read the domain stream from its beginning, with an end to its retries.
 *
 * By default Lambda retries until a record expires, and holds the shard up meanwhile. The age
 * limit is below the shortest retention a stream can have (24 h).
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
 */
export function consume(
  { stream }: DomainStream,
  { handler }: RustFunction,
  discarded: DiscardedBatches,
  options: ConsumerOptions,
): KinesisEventSource {
  const mapping = new KinesisEventSource(stream, {
      startingPosition: lambda.StartingPosition.TRIM_HORIZON,
      batchSize: options.batchSize,
      parallelizationFactor: options.parallelizationFactor,
      ...(options.window && { maxBatchingWindow: options.window }),
      retryAttempts: 100,
      maxRecordAge: Duration.hours(12),
      bisectBatchOnError: true,
      reportBatchItemFailures: true,
      onFailure: discarded,
      // What was polled, dropped and discarded, which nothing else counts.
      metricsConfig: { metrics: [lambda.MetricType.EVENT_COUNT] },
  });
  handler.addEventSource(mapping);
  return mapping;
}
