/** How a function of ours reads the domain stream. */
import { Duration } from 'aws-cdk-lib';
import { KinesisEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { DomainStream } from './domain-stream.ts';
import { mappingDefaults } from './mapping.ts';
import type { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

export interface ConsumerOptions {
  readonly settings: Settings;
  /** The most records in one invocation; 10,000 or 6 MB, whichever comes first. */
  readonly batchSize: number;
  /** Batches of one shard at once, 1 to 10. */
  readonly parallelizationFactor: number;
  /** How long to gather records for a batch; at most 5 minutes. */
  readonly window?: Duration;
}

/** Lets `consumer` read the domain stream from its beginning, with an end to its retries. */
export function consume(
  { stream }: DomainStream,
  { handler }: RustFunction,
  discarded: DiscardedBatches,
  options: ConsumerOptions,
): KinesisEventSource {
  const mapping = new KinesisEventSource(stream, {
    ...mappingDefaults(options.settings, discarded, Duration.hours(options.settings.retentionHours)),
    batchSize: options.batchSize,
    parallelizationFactor: options.parallelizationFactor,
    ...(options.window && { maxBatchingWindow: options.window }),
  });
  handler.addEventSource(mapping);
  return mapping;
}
