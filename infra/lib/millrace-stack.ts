/**
 * The stack: one construct per concern, wired in the direction in which an event travels.
 */
import { CfnOutput, Duration, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { MillraceAlarms } from './alarms.ts';
import { Commands } from './commands.ts';
import { DiscardedBatches } from './discarded-batches.ts';
import type { Domain } from './domain.ts';
import { DomainStream } from './domain-stream.ts';
import { EventLog } from './event-log.ts';
import { HttpApi } from './http-api.ts';
import { Lake } from './lake.ts';
import { OUTPUT_NAMES, OUTPUTS, type OutputName } from './names.ts';
import { Observability } from './observability.ts';
import { PrivateBucket } from './private-bucket.ts';
import { Projection } from './projection.ts';
import { Queries } from './queries.ts';
import { Reconciler } from './reconciler.ts';
import { removalPolicy, type Settings } from './settings.ts';
import { STAGES } from './stage.ts';

/** How many days the access logs of the buckets are retained. */
const ACCESS_LOG_DAYS = 90;

export interface MillraceStackProps extends StackProps {
  /** What `readSettings` returned. The constructs read neither CDK context nor the environment. */
  readonly settings: Settings;
  /** The domain whose functions `settings.artifacts` contains. */
  readonly domain: Domain;
}

export class MillraceStack extends Stack {
  /** The alarms of all constructs. `alarms.notify(topic)` also reaches alarms that are added later. */
  readonly alarms: MillraceAlarms;

  constructor(scope: Construct, id: string, { settings, domain, ...props }: MillraceStackProps) {
    const { account } = STAGES[settings.stage];
    super(scope, id, {
      description: 'Millrace: an event log made into a stream of domain events',
      ...(account && { env: { account } }),
      ...props,
    });
    this.alarms = new MillraceAlarms(settings.runbook);
    const { alarms } = this;

    const accessLogs = new PrivateBucket(this, 'AccessLogs', {
      removalPolicy: removalPolicy(settings),
      lifecycleRules: [{ id: 'expire', expiration: Duration.days(ACCESS_LOG_DAYS) }],
    });
    const discarded = new DiscardedBatches(this, 'DiscardedBatches', {
      removalPolicy: removalPolicy(settings),
      retention: Duration.days(settings.failureRetentionDays),
      accessLogs,
    });

    const http = new HttpApi(this, 'HttpApi', { settings, alarms, domain });
    const eventLog = new EventLog(this, 'EventLog', { settings });
    const commands = new Commands(this, 'Commands', { settings, alarms, domain, eventLog, http });
    const domainStream = new DomainStream(this, 'DomainStream', { settings, alarms, domain, eventLog, discarded });
    const projection = new Projection(this, 'Projection', { settings, alarms, domainStream, discarded });
    const queries = new Queries(this, 'Queries', { settings, alarms, domain, projection, http });
    const lake = new Lake(this, 'Lake', { settings, alarms, domain, domainStream, discarded, accessLogs });
    const reconciler = new Reconciler(this, 'Reconciler', {
      settings,
      alarms,
      domain,
      eventLog,
      domainStream,
      projection,
      lake,
      discarded,
    });

    // During an upgrade, a new writer may add columns to rows that a previous translator doesn't publish. Its events
    // would differ from the duplicates that the new translator publishes.
    commands.writer.handler.node.addDependency(domainStream.translator.handler, reconciler.reconciler.handler);

    // During an upgrade, Firehose would convert an event with a new member without it, as long as the table has no
    // column for it.
    for (const { handler } of [domainStream.translator, reconciler.reconciler]) {
      handler.node.addDependency(lake.catalog.table);
    }

    new Observability(this, 'Observability', {
      settings,
      alarms,
      http,
      commands,
      domainStream,
      projection,
      queries,
      lake,
      reconciler,
    });

    Validations.of(this).acknowledge({
      id: 'CloudFormation-Validate::W7001',
      reason: 'The Firehose construct adds a mapping of addresses, which a delivery to S3 does not use.',
    });

    const outputs: Readonly<Record<OutputName, string>> = {
      ApiId: http.api.apiId,
      ApiUrl: http.stage.url,
      EventsTable: eventLog.events.tableName,
      IdempotencyTable: eventLog.idempotency.tableName,
      CursorTable: domainStream.cursors.tableName,
      ViewTable: projection.views.tableName,
      HistoryTable: projection.history.tableName,
      StreamName: domainStream.stream.streamName,
      StreamArn: domainStream.stream.streamArn,
      DeliveryStream: lake.deliveryStream.deliveryStreamName,
      LakeBucket: lake.bucket.bucketName,
      FailureBucket: discarded.bucket.bucketName,
      ReconcilerTable: reconciler.state.tableName,
      ReconcilerFunction: reconciler.reconciler.handler.functionName,
      ReconcilerMinutes: settings.reconcilerMinutes.toString(),
      GlueDatabase: lake.catalog.databaseName,
      GlueTable: lake.catalog.tableName,
      AthenaWorkGroup: lake.workGroup.name,
    };
    for (const name of OUTPUT_NAMES) new CfnOutput(this, name, { value: outputs[name], description: OUTPUTS[name] });
    for (const [name, output] of Object.entries(domain.outputs)) new CfnOutput(this, name, output);
  }
}
