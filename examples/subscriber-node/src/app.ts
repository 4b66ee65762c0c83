/** The Lambda function: `app.handler`. */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { BatchResponse, KinesisEvent } from 'millrace-consumer';
import { DynamoDBPositions } from 'millrace-consumer/dynamodb';
import { readConfig } from './config.ts';
import { makeNotifier } from './notifier.ts';
import { undecodableTable } from './undecodable.ts';

const config = readConfig(process.env);
// The SDK reads the region, the credentials and AWS_ENDPOINT_URL from the environment.
const client = new DynamoDBClient();
const notifier = makeNotifier(config, {
  positions: new DynamoDBPositions(client, config.positionsTable),
  storeUndecodable: undecodableTable(client, config.undecodableTable),
});

export const handler = (event: KinesisEvent): Promise<BatchResponse> => notifier.process(event);
