/**
 * The reconciler: finds and repairs problems that no further event reveals, and reports them until they are
 * resolved. A schedule invokes it, because no stream record would.
 */
import { Duration, Validations } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as events from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { Domain } from './domain.ts';
import { CURSOR_ACTIONS, type DomainStream } from './domain-stream.ts';
import type { EventLog } from './event-log.ts';
import { Gauges } from './gauges.ts';
import type { Lake } from './lake.ts';
import type { Projection } from './projection.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';
import { Table } from './table.ts';

export interface ReconcilerProps {
  /** The stack's settings. `reconcilerMinutes` is the interval of the schedule. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the reconciler and its gauges. */
  readonly alarms: MillraceAlarms;
  /** The domain. The reconciler needs its settings, because it publishes with the translator's code. */
  readonly domain: Domain;
  /** The event log. The reconciler scans its events table for unpublished events. */
  readonly eventLog: EventLog;
  /** The stream, the cursors and the translator: what the reconciler compares with the events and repairs. */
  readonly domainStream: DomainStream;
  /** The read models. The reconciler finds stale views, and invokes the projector with the missing events. */
  readonly projection: Projection;
  /** The lake. The reconciler checks the archiver's mapping, and invokes the archiver with discarded batches. */
  readonly lake: Lake;
  /** The failure destination that the reconciler lists to find discarded batches. */
  readonly discarded: DiscardedBatches;
}

export class Reconciler extends Construct {
  /**
   * The state between two runs: the lease, the position of the slow pass, the state of each
   * discarded batch, the last report: `Kind`, `Name`.
   */
  readonly state: Table;
  readonly reconciler: RustFunction;
  readonly gauges: Gauges;

  constructor(scope: Construct, id: string, props: ReconcilerProps) {
    super(scope, id);
    const { settings, alarms, domain, eventLog, domainStream, projection, lake, discarded } = props;

    this.state = new Table(this, 'State', {
      settings,
      role: 'reconciler',
      partitionKey: { name: 'Kind', type: dynamodb.AttributeType.STRING },
      sortKey: { name: 'Name', type: dynamodb.AttributeType.STRING },
      timeToLiveAttribute: 'ExpiresAt',
    });

    const timeout = Duration.minutes(5);
    const interval = Duration.minutes(settings.reconcilerMinutes);
    this.reconciler = new RustFunction(this, 'Reconciler', {
      settings,
      alarms,
      name: 'reconciler',
      environment: {
        ...domain.environment,
        EVENTS_TABLE: eventLog.events.tableName,
        CURSOR_TABLE: domainStream.cursors.tableName,
        VIEW_TABLE: projection.views.tableName,
        STREAM_NAME: domainStream.stream.streamName,
        RECONCILER_TABLE: this.state.tableName,
        FAILURE_BUCKET: discarded.bucket.bucketName,
        EVENTS_STREAM_ARN: eventLog.events.tableStreamArn!,
        STREAM_ARN: domainStream.stream.streamArn,
        ...(projection.streamConsumer && { STREAM_CONSUMER_ARN: projection.streamConsumer.streamConsumerArn }),
        TRANSLATOR_FUNCTION: domainStream.translator.handler.functionName,
        PROJECTOR_FUNCTION: projection.projector.handler.functionName,
        ARCHIVER_FUNCTION: lake.archiver.handler.functionName,
      },
      // Long enough to publish the rest of a parked aggregate. The lease prevents the runs that the schedule
      // starts in the meantime.
      timeout,
      // The same as the translator's, because it publishes with the same code.
      memoryMB: 1024,
    });
    this.permissions(props);

    const { handler } = this.reconciler;
    // A failed run isn't retried, because the schedule starts the next one. By default, Lambda would retry it
    // twice, and would keep the event for 6 hours.
    // https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    handler.configureAsyncInvoke({ retryAttempts: 0, maxEventAge: interval });
    new events.Rule(this, 'Schedule', {
      description: 'Invokes the reconciler',
      schedule: events.Schedule.rate(interval),
      targets: [new LambdaFunction(handler)],
    });

    this.gauges = new Gauges(this, 'Gauges', {
      alarms,
      reconciler: this.reconciler,
      // A run ends before its timeout, and the next one begins at most one interval later. Runs that don't get
      // the lease don't report.
      reportsWithin: timeout.plus(interval),
    });
  }

  private permissions({ eventLog, domainStream, projection, lake, discarded }: ReconcilerProps): void {
    const { handler } = this.reconciler;
    eventLog.events.grant(handler, 'dynamodb:GetItem', 'dynamodb:Query', 'dynamodb:Scan');
    domainStream.cursors.grant(handler, ...CURSOR_ACTIONS);
    domainStream.cursors.grantMarkedItems(handler);
    projection.views.grant(handler, 'dynamodb:GetItem', 'dynamodb:UpdateItem');
    projection.views.grantMarkedItems(handler);
    this.state.grant(handler, 'dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:DeleteItem', 'dynamodb:Query');
    domainStream.access.grantPublish(handler);
    discarded.grantRead(handler);

    handler.addToRolePolicy(new iam.PolicyStatement({ actions: ['lambda:ListEventSourceMappings'], resources: ['*'] }));
    Validations.of(handler.role!).acknowledge({
      id: 'AwsSolutions::AwsSolutions-IAM5[Resource::*]',
      // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
      reason:
        'ListEventSourceMappings supports no resource-level permissions: it is allowed for all mappings or for none.',
    });
    // The reconciler invokes each function with its discarded batches, and the projector with the events that
    // a view lacks. The function's own ARN is sufficient; CDK's method would add all versions and aliases.
    const repairing = [domainStream.translator, projection.projector, lake.archiver];
    handler.addToRolePolicy(
      new iam.PolicyStatement({
        actions: ['lambda:InvokeFunction'],
        resources: repairing.map((function_) => function_.handler.functionArn),
      }),
    );
  }
}
