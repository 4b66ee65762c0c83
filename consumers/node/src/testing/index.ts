/**
 * A feed that delivers histories to a handler, with every fault that Kinesis and Lambda allow. It works with every test
 * runner.
 *
 * @packageDocumentation
 */
export {
  type FeedBatch,
  FeedError,
  type FeedHandler,
  type FeedReport,
  HostileFeed,
  type HostileFeedOptions,
  type RunOptions,
} from './hostile-feed.ts';
export { Killed, ServiceUnavailable } from './invocations.ts';
export { forEachSeed } from './seeds.ts';
export type { HistoryEvent, RecordedGap } from './stream.ts';
