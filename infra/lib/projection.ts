/** The read models, and the projector, which applies the events of the domain stream to them. */
import { Duration } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as kinesis from 'aws-cdk-lib/aws-kinesis';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { DomainStream } from './domain-stream.ts';
import { consume } from './domain-stream-consumer.ts';
import type { StreamMapping } from './mapping.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';
import { STAGES } from './stage.ts';
import { Table } from './table.ts';

export interface ProjectionProps {
  /** The stack's settings. They decide whether the tables outlive the stack, and bound the projector's retries. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the projector and its mapping. */
  readonly alarms: MillraceAlarms;
  /** The stream that the projector reads. */
  readonly domainStream: DomainStream;
  /** The failure destination of the mapping that invokes the projector. */
  readonly discarded: DiscardedBatches;
}

export class Projection extends Construct {
  /** The current view of each aggregate: `Id`. */
  readonly views: Table;
  /** One item per event of an aggregate, oldest first: `Id`, `Sequence`. */
  readonly history: Table;
  readonly projector: RustFunction;
  /** The event source mapping that invokes the projector with events. */
  readonly mapping: StreamMapping;
  /** The consumer of the domain stream through which the projector reads, with the setting `enhancedFanOut`. */
  readonly streamConsumer: kinesis.StreamConsumer | undefined;

  constructor(scope: Construct, id: string, { settings, alarms, domainStream, discarded }: ProjectionProps) {
    super(scope, id);

    // The ids of these two are older than the names: with another id, CloudFormation would create a
    // new table without data.
    this.views = new Table(this, 'Accounts', {
      settings,
      role: 'views',
      partitionKey: { name: 'Id', type: dynamodb.AttributeType.STRING },
      // The views that are marked stale: `stale/0` to `stale/7`.
      markedItems: { indexName: 'Stale', partitionKey: 'StaleIn', sortKey: 'StaleSince' },
    });
    this.history = new Table(this, 'Transactions', {
      settings,
      role: 'history',
      partitionKey: { name: 'Id', type: dynamodb.AttributeType.STRING },
      sortKey: { name: 'Sequence', type: dynamodb.AttributeType.NUMBER },
    });

    this.projector = new RustFunction(this, 'Projector', {
      settings,
      alarms,
      name: 'projector',
      environment: {
        VIEW_TABLE: this.views.tableName,
        HISTORY_TABLE: this.history.tableName,
      },
      timeout: Duration.seconds(60),
      memoryMB: 512,
    });
    this.views.grant(
      this.projector.handler,
      'dynamodb:BatchGetItem',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
      'dynamodb:UpdateItem',
      // BatchExecuteStatement needs the permissions of its statements.
      // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html
      'dynamodb:PartiQLInsert',
      'dynamodb:PartiQLUpdate',
    );
    this.history.grant(this.projector.handler, 'dynamodb:BatchWriteItem');

    this.streamConsumer = settings.enhancedFanOut
      ? new kinesis.StreamConsumer(this, 'StreamConsumer', {
          stream: domainStream.stream,
          streamConsumerName: 'projector',
        })
      : undefined;
    this.mapping = consume(domainStream, this.projector, discarded, {
      settings,
      alarms,
      batchSize: 1000,
      // Above 1, Lambda still keeps the order per partition key, which is the aggregate's id.
      // https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
      parallelizationFactor: STAGES[settings.stage].projectorParallelization,
      streamConsumer: this.streamConsumer,
    });
  }
}
