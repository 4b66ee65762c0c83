import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { UndecodableRecord } from 'millrace-consumer';

/** Puts undecodable records into a table. The same record is the same item, so a redelivery changes nothing. */
export function undecodableTable(client: Pick<DynamoDBClient, 'send'>, table: string) {
  return async ({ eventId, reason, bytes }: UndecodableRecord): Promise<void> => {
    const Item = { StreamId: { S: eventId }, Reason: { S: reason }, Data: { B: bytes } };
    await client.send(new PutItemCommand({ TableName: table, Item }));
  };
}
