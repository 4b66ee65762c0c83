/**
 * The lake: every domain event as a line of JSON in S3, by day, and Athena to ask it.
 *
 * The archiver reads the domain stream and hands lines to Firehose, which writes them below
 * `events/dt=<day of delivery>/`. A line may be there twice; its `id` says so, and the
 * `domain_events` view shows it once.
 */
import { Duration, Names, RemovalPolicy, Size, Stack } from 'aws-cdk-lib';
import * as athena from 'aws-cdk-lib/aws-athena';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as firehose from 'aws-cdk-lib/aws-kinesisfirehose';
import type { KinesisEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { DiscardedBatches } from './discarded-batches.ts';
import { consume } from './domain-stream-consumer.ts';
import type { DomainStream } from './domain-stream.ts';
import type { Domain } from './domain.ts';
import { LakeCatalog } from './lake-catalog.ts';
import { PrivateBucket } from './private-bucket.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';
import { STAGES } from './stage.ts';

/** The lake bucket's folders. */
export const FOLDERS = { events: 'events/', errors: 'errors/', athena: 'athena/' } as const;

/**
 * The most one query may read, in bytes: 100 GiB, half a dollar's worth at 5 USD per TB. It stops
 * a query that forgot its `dt`; 10 MB is the least that Athena accepts.
 * https://docs.aws.amazon.com/athena/latest/ug/workgroups-setting-control-limits-cloudwatch.html
 */
const SCAN_LIMIT = 100 * 1024 ** 3;

/** How long the result of a query is kept. */
const RESULT_DAYS = 30;

export interface LakeProps {
  readonly settings: Settings;
  /** Its members of public data that the lake's table has columns for. */
  readonly domain: Domain;
  readonly domainStream: DomainStream;
  readonly discarded: DiscardedBatches;
  readonly accessLogs: s3.IBucket;
}

export class Lake extends Construct {
  readonly bucket: PrivateBucket;
  readonly deliveryStream: firehose.DeliveryStream;
  readonly archiver: RustFunction;
  /** What hands events to the archiver. */
  readonly mapping: KinesisEventSource;
  readonly catalog: LakeCatalog;
  readonly workGroup: athena.CfnWorkGroup;

  constructor(scope: Construct, id: string, props: LakeProps) {
    super(scope, id);
    const { settings } = props;

    this.bucket = new PrivateBucket(this, 'Bucket', {
      settings,
      accessLogs: props.accessLogs,
      // Events stay. What Athena answered doesn't have to.
      lifecycleRules: [
        { id: 'expire-query-results', prefix: FOLDERS.athena, expiration: Duration.days(RESULT_DAYS) },
      ],
    });
    this.deliveryStream = this.delivery(settings);
    this.catalog = new LakeCatalog(this, 'Catalog', { settings, domain: props.domain, bucket: this.bucket });
    this.workGroup = this.queries(settings);

    this.archiver = new RustFunction(this, 'Archiver', {
      settings,
      name: 'archiver',
      environment: { DELIVERY_STREAM: this.deliveryStream.deliveryStreamName },
      timeout: Duration.seconds(60),
      memoryMB: 512,
    });
    this.deliveryStream.grant(this.archiver.handler, 'firehose:PutRecordBatch');

    const window = STAGES[settings.stage].archiverWindowSeconds;
    this.mapping = consume(props.domainStream, this.archiver, props.discarded, {
      settings,
      // As many as Lambda gives: Firehose bills each of its records rounded up to 5 KB, and the
      // more events there are at hand, the fuller a record gets.
      // https://aws.amazon.com/firehose/pricing/
      batchSize: 10_000,
      parallelizationFactor: 1,
      ...(window > 0 && { window: Duration.seconds(window) }),
    });
  }

  private delivery(settings: Settings): firehose.DeliveryStream {
    const traits = STAGES[settings.stage];
    const errorLog = new logs.LogGroup(this, 'DeliveryErrors', {
      retention: settings.logRetentionDays,
      removalPolicy: settings.removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });

    // What Firehose asks for, and on the folders it writes; CDK's grant would let it read and
    // delete the whole bucket.
    // https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-s3
    const role = new iam.Role(this, 'DeliveryRole', {
      // On behalf of this AWS account only: otherwise another one's delivery stream could be made to
      // write here. The stream's own ARN would be a circle, because the stream refers to the role.
      // https://docs.aws.amazon.com/firehose/latest/dev/confused-deputy.html
      assumedBy: new iam.ServicePrincipal('firehose.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
      description: 'Lets Firehose write the lake',
      inlinePolicies: {
        WriteLake: new iam.PolicyDocument({
          statements: [
            new iam.PolicyStatement({
              actions: ['s3:GetBucketLocation', 's3:ListBucket', 's3:ListBucketMultipartUploads'],
              resources: [this.bucket.bucketArn],
            }),
            new iam.PolicyStatement({
              actions: ['s3:AbortMultipartUpload', 's3:GetObject', 's3:PutObject'],
              resources: [
                this.bucket.arnForObjects(`${FOLDERS.events}*`),
                this.bucket.arnForObjects(`${FOLDERS.errors}*`),
              ],
            }),
            new iam.PolicyStatement({
              actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
              resources: [errorLog.logGroupArn],
            }),
          ],
        }),
      },
    });
    for (const folder of [FOLDERS.events, FOLDERS.errors]) {
      this.bucket.acknowledgePrefix(role, folder, 'Firehose names the objects itself, by day and shard.');
    }
    const fixed = role.withoutPolicyUpdates();

    return new firehose.DeliveryStream(this, 'Delivery', {
      role: fixed,
      encryption: firehose.StreamEncryption.awsOwnedKey(),
      destination: new firehose.S3Bucket(this.bucket, {
        role: fixed,
        loggingConfig: new firehose.EnableLogging(errorLog),
        dataOutputPrefix: `${FOLDERS.events}dt=!{timestamp:yyyy-MM-dd}/`,
        errorOutputPrefix: `${FOLDERS.errors}!{firehose:error-output-type}/dt=!{timestamp:yyyy-MM-dd}/`,
        // Whichever is reached first. Athena is slow on many small objects, people are
        // impatient: five minutes, or half of the 128 MiB that Firehose allows.
        // https://docs.aws.amazon.com/firehose/latest/dev/buffering-hints.html
        bufferingInterval: Duration.seconds(traits.lakeBufferSeconds),
        bufferingSize: Size.mebibytes(64),
        compression: traits.lakeCompression ? firehose.Compression.GZIP : firehose.Compression.UNCOMPRESSED,
      }),
    });
  }

  private queries(settings: Settings): athena.CfnWorkGroup {
    const group = new athena.CfnWorkGroup(this, 'WorkGroup', {
      // CloudFormation makes up no name for a work group; this one follows from the stack's.
      name: Names.uniqueResourceName(this, { maxLength: 64, separator: '-' }),
      description: `Queries over the domain events of ${Stack.of(this).stackName}`,
      recursiveDeleteOption: settings.removalPolicy === 'destroy',
      workGroupConfiguration: {
        enforceWorkGroupConfiguration: true,
        publishCloudWatchMetricsEnabled: true,
        bytesScannedCutoffPerQuery: SCAN_LIMIT,
        engineVersion: { selectedEngineVersion: 'Athena engine version 3' },
        resultConfiguration: {
          outputLocation: this.bucket.s3UrlForObject(FOLDERS.athena),
          encryptionConfiguration: { encryptionOption: 'SSE_S3' },
        },
      },
    });
    group.applyRemovalPolicy(
      settings.removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    );
    return group;
  }
}
