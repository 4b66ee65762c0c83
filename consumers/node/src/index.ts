/**
 * Consumes the domain events of Millrace in an AWS Lambda function.
 *
 * @packageDocumentation
 */
export type { BatchResponse, KinesisEvent, KinesisRecord, UserRecord } from './batch.ts';
export { type Change, Consumer, type ConsumerOptions, type Handler } from './consumer.ts';
export { type Decoded, decode, type Expectation } from './decode.ts';
export type { Envelope, Event, EventOf, EventTypes, UnknownEvent, VersionedType } from './event.ts';
/** The sequence gate. */
export * as gate from './gate.ts';
export { type LogFields, type Logger, stdoutLogger } from './logger.ts';
export {
  MemoryPositions,
  type Position,
  type PositionGap,
  type Positions,
  type SaveResult,
  type UndecodableRecord,
} from './positions.ts';
/** Readers of JSON values, of which the generated module consists. */
export * as read from './read.ts';
export { DecodeError, type Reader } from './read.ts';
