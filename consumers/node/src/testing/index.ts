/**
 * A feed that delivers histories to a handler as Kinesis and Lambda may deliver them at worst. It works with every test
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
} from './hostile-feed.ts';
export { Killed, ServiceUnavailable } from './invocations.ts';
export { forEachSeed } from './seeds.ts';
export type { FeedGap, HistoryEvent } from './stream.ts';
