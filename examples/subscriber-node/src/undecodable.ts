import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { UndecodableRecord } from 'millrace-consumer';

/**
 * The most bytes of a record that are stored. A record of Kinesis has up to 10 MiB, but an item of DynamoDB at most
 * 400 KB with all attributes. A larger item would be refused each time, and the record would block its shard until it
 * expires. The stream retains the whole record until then.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
 * https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
 */
const MAX_DATA = 300_000;

/** Puts undecodable records into a table. The same record is the same item, so a redelivery changes nothing. */
export function undecodableTable(client: Pick<DynamoDBClient, 'send'>, table: string) {
  return async ({ eventId, reason, bytes }: UndecodableRecord): Promise<void> => {
    const Item = {
      StreamId: { S: eventId },
      Reason: { S: reason },
      Data: { B: bytes.subarray(0, MAX_DATA) },
      // If Length is higher than the number of bytes in Data, the record was cut off.
      Length: { N: String(bytes.length) },
    };
    await client.send(new PutItemCommand({ TableName: table, Item }));
  };
}
