/** The event source mapping with which a function reads the domain stream. */
import { Duration } from 'aws-cdk-lib';
import type { IStreamConsumer } from 'aws-cdk-lib/aws-kinesis';
import { KinesisConsumerEventSource, KinesisEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { MillraceAlarms } from './alarms.ts';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { DomainStream } from './domain-stream.ts';
import { addMapping, type MappingOptions, mappingDefaults, type StreamMapping } from './mapping.ts';
import type { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

/**
 * What Lambda does with a stream that it reads. It calls GetRecords also to retry a batch of a consumer with enhanced
 * fan-out. ListStreams is needed in the console only.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html
 */
export const READ_ACTIONS = [
  'kinesis:DescribeStream',
  'kinesis:DescribeStreamSummary',
  'kinesis:GetRecords',
  'kinesis:GetShardIterator',
  'kinesis:ListShards',
];

/** How the records of a Kinesis stream become batches. */
export interface BatchOptions {
  /** The maximum number of records in one invocation, 1 to 10,000. Lambda also limits them to 6 MB. */
  readonly batchSize: number;
  /** The number of batches of one shard that are processed concurrently, 1 to 10. */
  readonly parallelizationFactor: number;
  /**
   * The batching window: how long Lambda gathers records for a batch, 0 to 5 minutes.
   * @default - 0: Lambda invokes the function as soon as there are records
   */
  readonly window?: Duration | undefined;
}

/** The properties of each mapping of the domain stream, in this stack and in those of other teams. */
export function consumerMapping({
  batchSize,
  parallelizationFactor,
  window,
  ...options
}: MappingOptions & BatchOptions) {
  return {
    ...mappingDefaults(options),
    batchSize,
    parallelizationFactor,
    ...(window && { maxBatchingWindow: window }),
  };
}

export interface ConsumerOptions extends BatchOptions {
  /** The stack's settings. `retentionHours` and `retryAttempts` bound the retries of a batch. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the mapping. */
  readonly alarms: MillraceAlarms;
  /**
   * The stream's consumer through which the function reads, with enhanced fan-out.
   * @default - none: the function shares the read throughput of each shard with other readers
   */
  readonly streamConsumer?: IStreamConsumer | undefined;
}

/** Adds a mapping that reads the domain stream from its beginning, and whose retries are bounded. */
export function consume(
  { stream }: DomainStream,
  reader: RustFunction,
  discarded: DiscardedBatches,
  { settings, alarms, streamConsumer, ...batches }: ConsumerOptions,
): StreamMapping {
  const properties = consumerMapping({
    ...batches,
    retention: Duration.hours(settings.retentionHours),
    retryAttempts: settings.retryAttempts,
    onFailure: discarded,
  });
  const mapping = streamConsumer
    ? new KinesisConsumerEventSource(streamConsumer, properties)
    : new KinesisEventSource(stream, properties);
  addMapping(reader, mapping, alarms);
  return mapping;
}
