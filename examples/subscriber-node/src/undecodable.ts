import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { UndecodableRecord } from 'millrace-consumer';

/**
 * The most bytes of a record that are stored. An item of DynamoDB has at most 400 KB, and a record of Kinesis up to 10
 * MiB. The stream retains the whole record for some time.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
 * https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
 */
const MAX_BYTES = 300_000;

/** Puts undecodable records into a table. The same record is the same item, so a redelivery changes nothing. */
export function undecodableTable(client: Pick<DynamoDBClient, 'send'>, table: string) {
  return async ({ eventId, reason, bytes }: UndecodableRecord): Promise<void> => {
    const Item = {
      StreamId: { S: eventId },
      Reason: { S: reason },
      Length: { N: String(bytes.length) },
      Data: { B: bytes.subarray(0, MAX_BYTES) },
    };
    await client.send(new PutItemCommand({ TableName: table, Item }));
  };
}
