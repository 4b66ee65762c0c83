/**
 * Lambda's event for records of a Kinesis stream, as far as this package reads it. `KinesisStreamEvent` of
 * `@types/aws-lambda` has this form.
 */
export interface KinesisEvent {
  readonly Records: readonly KinesisRecord[];
}

/** One record of {@link KinesisEvent}. */
export interface KinesisRecord {
  /** Lambda's id of the record: the shard's id, a colon and the sequence number. */
  readonly eventID?: string;
  readonly kinesis: {
    /** Kinesis' sequence number, which isn't the event's sequence: a duplicate has another one. */
    readonly sequenceNumber: string;
    /** The record's bytes in base64. */
    readonly data?: string;
  };
}

/** The response for a partial batch: Lambda delivers the named record and all later ones again. */
export interface BatchResponse {
  /** The first incomplete record; empty if all records are completed. */
  batchItemFailures: { itemIdentifier: string }[];
}

/** One user record of a batch. */
export interface UserRecord {
  /** The position in the batch of the Kinesis record that contains it, from 0 on. */
  readonly position: number;
  /** Lambda's id of the Kinesis record, which may be logged; its sequence number if there is none. */
  readonly eventId: string;
  /** The record's bytes; `undefined` if the record can't be used. */
  readonly bytes: Uint8Array | undefined;
}

/**
 * Reads Lambda's event into the records of the stream's producers.
 *
 * @throws TypeError if this isn't a batch of Kinesis records. Then the invocation has to fail: it can't report a record.
 */
export function readBatch(event: KinesisEvent): UserRecord[] {
  const records: unknown = (event as KinesisEvent | null | undefined)?.Records;
  if (!Array.isArray(records)) throw new TypeError("The event isn't a batch of Kinesis records: Records is no list");
  return records.flatMap((record: KinesisRecord | null | undefined, position) => {
    if (typeof record?.kinesis?.sequenceNumber !== 'string') {
      throw new TypeError(
        `The event isn't a batch of Kinesis records: record ${position} has no kinesis.sequenceNumber`,
      );
    }
    return readUserRecords(record, position);
  });
}

/**
 * The user records of one Kinesis record. Each Kinesis record is one user record: aggregated records of the Kinesis
 * Producer Library would become several here, with the same position.
 */
function readUserRecords(record: KinesisRecord, position: number): UserRecord[] {
  const eventId = typeof record.eventID === 'string' ? record.eventID : record.kinesis.sequenceNumber;
  return [{ position, eventId, bytes: fromBase64(record.kinesis.data) }];
}

/**
 * The response that reports a record.
 *
 * @param incomplete - The position of the first incomplete record; `undefined` if all records are completed.
 */
export function respond(event: KinesisEvent, incomplete: number | undefined): BatchResponse {
  const record = incomplete === undefined ? undefined : event.Records[incomplete];
  return { batchItemFailures: record ? [{ itemIdentifier: record.kinesis.sequenceNumber }] : [] };
}

function fromBase64(data: unknown): Uint8Array | undefined {
  if (typeof data !== 'string') return undefined;
  const bytes = Buffer.from(data, 'base64');
  // Buffer ignores characters that aren't base64.
  return bytes.toString('base64') === data ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length) : undefined;
}
