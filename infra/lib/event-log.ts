/**
 * The event log: the events table, which is the source of truth, and the idempotency table, which contains
 * the outcomes of commands with a key. Other teams read events from the domain stream, not from these tables.
 */
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { Settings } from './settings.ts';
import { Table } from './table.ts';

export interface EventLogProps {
  /** The stack's settings. `removalPolicy` decides whether the tables outlive the stack. */
  readonly settings: Settings;
}

export class EventLog extends Construct {
  /** One item per event, and snapshots between them: `Id`, `Version`. */
  readonly events: Table;
  /** One item per `Idempotency-Key`, which DynamoDB deletes after its expiry time. */
  readonly idempotency: Table;

  constructor(scope: Construct, id: string, { settings }: EventLogProps) {
    super(scope, id);

    this.events = new Table(this, 'Events', {
      settings,
      role: 'events',
      partitionKey: { name: 'Id', type: dynamodb.AttributeType.STRING },
      sortKey: { name: 'Version', type: dynamodb.AttributeType.NUMBER },
      // Rows are only appended, so a stream record needs only the new image.
      dynamoStream: dynamodb.StreamViewType.NEW_IMAGE,
    });

    this.idempotency = new Table(this, 'Idempotency', {
      settings,
      role: 'idempotency',
      partitionKey: { name: 'Key', type: dynamodb.AttributeType.STRING },
      timeToLiveAttribute: 'ExpiresAt',
    });
  }
}
