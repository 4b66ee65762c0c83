import type { Reader } from './read.ts';

/** What the envelopes of all events have in common. */
export interface Envelope {
  /** `<subject>:<sequence>`: unique to the event, and the same in every duplicate. */
  readonly id: string;
  /** What happened, such as `BalanceWithdrawn`. */
  readonly type: string;
  /** The version of the type, from 1 on. `dataschema` ends with it. */
  readonly version: number;
  /** The aggregate's id, 1 to 256 Unicode characters. It is opaque: don't parse it, and don't log it. */
  readonly subject: string;
  /** The number of the event in its aggregate's history, 1 to 2^53-1, without a gap. */
  readonly sequence: number;
  /** When it happened (RFC 3339). Clocks differ, so the times of an aggregate's events may decrease. */
  readonly time: string;
  /** The id that all events of one business transaction share. */
  readonly correlationId?: string;
  /** The id of the command or event that caused the event. */
  readonly causationId?: string;
  /** The writer's span for the command (W3C Trace Context). A malformed one is absent. */
  readonly traceParent?: string;
}

/**
 * An event of a type and version that the consumer knows.
 *
 * @typeParam Data - The type's data, which its reader has checked.
 */
export interface Event<Data = unknown, Type extends string = string, Version extends number = number> extends Envelope {
  readonly type: Type;
  readonly version: Version;
  /** The members of the type. Members that the reader doesn't know are left out. */
  readonly data: Data;
}

/** An event of a type or version that the consumer doesn't know. Only its envelope was read. */
export interface UnknownEvent extends Envelope {
  /**
   * Whether the consumer knows another version of the type. If so, the event is skipped as after a gap; otherwise it
   * counts as applied.
   */
  readonly isKnownType: boolean;
}

/** The name of a version of an event type: `BalanceWithdrawn:2`. */
export type VersionedType = `${string}:${number}`;

/**
 * The types and versions that a consumer knows, each with the reader of its data. `millrace-consumer-types` generates
 * them from the schemas.
 */
// biome-ignore lint/suspicious/noExplicitAny: a reader of any type of data is allowed
export type EventTypes = { readonly [name: VersionedType]: Reader<any> };

/** The union of all events of these types. */
export type EventOf<Types extends EventTypes> = {
  [Name in keyof Types]: Name extends `${infer Type}:${infer Version extends number}`
    ? Types[Name] extends Reader<infer Data>
      ? Event<Data, Type, Version>
      : never
    : never;
}[keyof Types];
