/** Where a subscriber's mapping begins to read the domain stream. */
import * as lambda from 'aws-cdk-lib/aws-lambda';

/**
 * Where a mapping begins to read. `LATEST` isn't offered: Lambda may miss records that are published while the mapping
 * is created or updated.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html
 */
export class StartingPosition {
  /** From the oldest event that the stream retains. */
  static trimHorizon(): StartingPosition {
    return new StartingPosition(lambda.StartingPosition.TRIM_HORIZON);
  }

  /**
   * From a time, in RFC 3339 with a time zone, such as `2026-11-20T08:30:00Z`: for a consumer that got the history by
   * `millrace replay`. Use the time that the command prints, which is at least 15 minutes before the replay began. Events
   * that were replayed and are delivered again are duplicates, which the sequence gate skips.
   *
   * Lambda knows seconds; fractions of a second are rounded down. The time must not be in the future, and before the
   * oldest event that the stream retains, it is the same as `trimHorizon()`.
   * https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
   */
  static atTimestamp(time: string): StartingPosition {
    const isTime = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(time);
    const milliseconds = isTime ? Date.parse(time) : Number.NaN;
    if (Number.isNaN(milliseconds)) {
      throw new Error(
        `The starting position is ${JSON.stringify(time)}; allowed: a time in RFC 3339, such as 2026-11-20T08:30:00Z`,
      );
    }
    return new StartingPosition(lambda.StartingPosition.AT_TIMESTAMP, Math.floor(milliseconds / 1000));
  }

  /** The starting position of the event source mapping. */
  readonly position: lambda.StartingPosition;
  /** The time in Unix seconds; `undefined` unless the position is a time. */
  readonly timestamp: number | undefined;

  private constructor(position: lambda.StartingPosition, timestamp?: number) {
    this.position = position;
    this.timestamp = timestamp;
  }
}
