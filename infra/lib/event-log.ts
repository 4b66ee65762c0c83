/**
 * The event log: the events table, which is the source of truth, and the record of commands
 * already answered. Private to the writer; others learn of an event from the domain stream.
 */
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { Settings } from './settings.ts';
import { Table } from './table.ts';

export interface EventLogProps {
  readonly settings: Settings;
}

export class EventLog extends Construct {
  /** One item per event, and snapshots between them: `Id`, `Version`. */
  readonly events: Table;
  /** One item per `Idempotency-Key`, forgotten after its time. */
  readonly idempotency: Table;

  constructor(scope: Construct, id: string, { settings }: EventLogProps) {
    super(scope, id);

    this.events = new Table(this, 'Events', {
      settings,
      role: 'events',
      partitionKey: { name: 'Id', type: dynamodb.AttributeType.STRING },
      sortKey: { name: 'Version', type: dynamodb.AttributeType.NUMBER },
      // Rows are only ever added, so the new image is the whole news.
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
