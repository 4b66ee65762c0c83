/**
 * The lake: every domain event in S3, by day, in Parquet or as a line of JSON, and Athena to query it.
 *
 * The archiver reads the domain stream and sends lake records to Firehose, which writes them below
 * `<folder of the format>/dt=<day of delivery>/`. The lake may contain duplicates with the same `id`; the
 * `domain_events` view contains each event once.
 */
import { Duration, Size, Stack } from 'aws-cdk-lib';
import type * as athena from 'aws-cdk-lib/aws-athena';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as firehose from 'aws-cdk-lib/aws-kinesisfirehose';
import * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import { DailyReport } from './daily-report.ts';
import type { DiscardedBatches } from './discarded-batches.ts';
import type { Domain } from './domain.ts';
import type { DomainStream } from './domain-stream.ts';
import { consume } from './domain-stream-consumer.ts';
import { LakeCatalog } from './lake-catalog.ts';
import { FORMATS } from './lake-format.ts';
import type { StreamMapping } from './mapping.ts';
import { NamedQueries, readQueries } from './named-queries.ts';
import { PrivateBucket } from './private-bucket.ts';
import { RustFunction } from './rust-function.ts';
import { removalPolicy, type Settings } from './settings.ts';
import { STAGES } from './stage.ts';
import { workGroup } from './work-group.ts';

/** The lake bucket's folders, next to that of the events (`lake-format.ts`). */
export const FOLDERS = { errors: 'errors/', athena: 'athena/' } as const;

/** How long the result of a query is kept. */
const RESULT_DAYS = 30;

/** The maximum age of events that are not in the lake yet. Firehose buffers them for minutes. */
const MAX_LAKE_AGE = Duration.minutes(30);

export interface LakeProps {
  /** The stack's settings. They decide whether the lake outlives the stack, and bound the archiver's retries. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the archiver, its mapping and the delivery stream. */
  readonly alarms: MillraceAlarms;
  /** The domain. The lake's table has columns for its members of public data, and Athena its queries. */
  readonly domain: Domain;
  /** The stream that the archiver reads. */
  readonly domainStream: DomainStream;
  /** The failure destination of the mapping that invokes the archiver. */
  readonly discarded: DiscardedBatches;
  /** The bucket to which S3 writes the access log of the lake's bucket. */
  readonly accessLogs: s3.IBucket;
}

export class Lake extends Construct {
  readonly bucket: PrivateBucket;
  readonly deliveryStream: firehose.DeliveryStream;
  readonly archiver: RustFunction;
  /** The event source mapping that invokes the archiver with events. */
  readonly mapping: StreamMapping;
  readonly catalog: LakeCatalog;
  readonly workGroup: athena.CfnWorkGroup;

  constructor(scope: Construct, id: string, props: LakeProps) {
    super(scope, id);
    const { settings, alarms } = props;

    this.bucket = new PrivateBucket(this, 'Bucket', {
      removalPolicy: removalPolicy(settings),
      accessLogs: props.accessLogs,
      // Query results expire. Events and daily reports don't.
      lifecycleRules: [{ id: 'expire-query-results', prefix: FOLDERS.athena, expiration: Duration.days(RESULT_DAYS) }],
    });
    this.catalog = new LakeCatalog(this, 'Catalog', { settings, domain: props.domain, bucket: this.bucket });
    this.deliveryStream = this.delivery(settings);
    this.workGroup = workGroup(this, 'WorkGroup', {
      isRetained: settings.removalPolicy === 'retain',
      description: `Queries over the domain events of ${Stack.of(this).stackName}`,
      results: this.bucket.s3UrlForObject(FOLDERS.athena),
    });
    const queries = props.domain.queries === undefined ? [] : readQueries(props.domain.queries);
    if (STAGES[settings.stage].namedQueries) {
      new NamedQueries(this, 'Queries', { queries, catalog: this.catalog, workGroup: this.workGroup });
    }
    if (settings.dailyReport) {
      new DailyReport(this, 'DailyReport', { settings, alarms, queries, bucket: this.bucket, catalog: this.catalog });
    }

    this.archiver = new RustFunction(this, 'Archiver', {
      settings,
      alarms,
      name: 'archiver',
      environment: { DELIVERY_STREAM: this.deliveryStream.deliveryStreamName },
      timeout: Duration.seconds(60),
      memoryMB: 512,
    });
    this.deliveryStream.grant(this.archiver.handler, 'firehose:PutRecordBatch');

    const window = STAGES[settings.stage].archiverWindowSeconds;
    this.mapping = consume(props.domainStream, this.archiver, props.discarded, {
      settings,
      alarms,
      // Lambda's maximum. Firehose bills each of its records rounded up to 5 KB, and with more events per
      // invocation, the archiver fills these records better.
      // https://aws.amazon.com/firehose/pricing/
      batchSize: 10_000,
      parallelizationFactor: 1,
      ...(window > 0 && { window: Duration.seconds(window) }),
    });

    alarms.add(this, 'ArchiveFails', {
      metric: this.archiver.metric('ArchiveFailures'),
      threshold: 1,
      periods: 3,
      means: 'The archiver could not send events to Firehose in time.',
    });
    alarms.add(this, 'LakeIsOld', {
      metric: this.deliveryStream.metric('DeliveryToS3.DataFreshness', { statistic: 'Maximum' }),
      threshold: MAX_LAKE_AGE.toSeconds(),
      means: 'Events that Firehose has accepted do not reach the lake.',
    });
    if (settings.lakeFormat === 'parquet') {
      // https://docs.aws.amazon.com/firehose/latest/dev/monitoring-with-cloudwatch-metrics.html
      alarms.add(this, 'ConversionFails', {
        metric: this.deliveryStream.metric('FailedConversion.Records', { statistic: 'Sum' }),
        threshold: 1,
        means: 'Firehose could not convert events to Parquet, so the lake lacks them.',
      });
    }
  }

  private delivery(settings: Settings): firehose.DeliveryStream {
    const traits = STAGES[settings.stage];
    const format = FORMATS[settings.lakeFormat];
    const isParquet = settings.lakeFormat === 'parquet';
    const errorLog = new logs.LogGroup(this, 'DeliveryErrors', {
      retention: settings.logRetentionDays,
      removalPolicy: removalPolicy(settings),
    });

    // The permissions that Firehose needs, on the folders to which it writes and the table whose columns it
    // reads. CDK's grants would allow it to read and delete every object of the bucket, and to read every
    // schema.
    // https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-s3
    // https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-glue
    const role = new iam.Role(this, 'DeliveryRole', {
      // Only on behalf of this AWS account: otherwise a delivery stream of another account could write here.
      // A condition on the stream's ARN would be a circular dependency, because the stream refers to the
      // role.
      // https://docs.aws.amazon.com/firehose/latest/dev/confused-deputy.html
      assumedBy: new iam.ServicePrincipal('firehose.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
      description: 'Allows Firehose to write the lake',
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
                this.bucket.arnForObjects(`${format.folder}*`),
                this.bucket.arnForObjects(`${FOLDERS.errors}*`),
              ],
            }),
            ...(isParquet
              ? [
                  new iam.PolicyStatement({
                    actions: ['glue:GetTable', 'glue:GetTableVersion', 'glue:GetTableVersions'],
                    resources: this.catalog.arns(this.catalog.tableName),
                  }),
                ]
              : []),
            new iam.PolicyStatement({
              actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
              resources: [errorLog.logGroupArn],
            }),
          ],
        }),
      },
    });
    for (const folder of [format.folder, FOLDERS.errors]) {
      this.bucket.acknowledgePrefix(role, folder, 'Firehose names the objects itself, by day and shard.');
    }
    const fixed = role.withoutPolicyUpdates();

    const stream = new firehose.DeliveryStream(this, 'Delivery', {
      role: fixed,
      encryption: firehose.StreamEncryption.awsOwnedKey(),
      destination: new firehose.S3Bucket(this.bucket, {
        role: fixed,
        loggingConfig: new firehose.EnableLogging(errorLog),
        dataOutputPrefix: `${format.folder}dt=!{timestamp:yyyy-MM-dd}/`,
        errorOutputPrefix: `${FOLDERS.errors}!{firehose:error-output-type}/dt=!{timestamp:yyyy-MM-dd}/`,
        // Firehose writes an object when it reaches one of the two limits. Many small objects make Athena
        // slow, and large ones delay the events.
        // https://docs.aws.amazon.com/firehose/latest/dev/buffering-hints.html
        bufferingInterval: Duration.seconds(traits.lakeBufferSeconds),
        bufferingSize: Size.mebibytes(format.bufferMB),
        ...(isParquet
          ? { dataFormatConversion: this.conversion() }
          : { compression: traits.lakeCompression ? firehose.Compression.GZIP : firehose.Compression.UNCOMPRESSED }),
      }),
    });
    // Firehose keeps what an update doesn't mention, but the compression of one format excludes the conversion of
    // the other. So the template states what each format doesn't have.
    // https://docs.aws.amazon.com/firehose/latest/APIReference/API_UpdateDestination.html
    const [absent, value] = isParquet
      ? ['CompressionFormat', 'UNCOMPRESSED']
      : ['DataFormatConversionConfiguration', { Enabled: false }];
    (stream.node.defaultChild as firehose.CfnDeliveryStream).addPropertyOverride(
      `ExtendedS3DestinationConfiguration.${absent}`,
      value,
    );
    return stream;
  }

  /**
   * The conversion of lines to the columns of the table's newest version. A Firehose record may contain several
   * lines. If one of them can't be converted, Firehose writes the whole record below `errors/`; the archiver
   * sends only lines that can be rows (`core/src/lake.rs`). Objects are compressed within Parquet and can't be
   * compressed again.
   * https://docs.aws.amazon.com/firehose/latest/dev/record-format-conversion.html
   * https://docs.aws.amazon.com/firehose/latest/dev/enable-record-format-conversion.html
   */
  private conversion(): firehose.DataFormatConversionProps {
    return {
      schemaConfiguration: firehose.SchemaConfiguration.fromCfnTable(this.catalog.table),
      // It brings the members' names into lower case, as the columns' names are. AWS recommends it for Firehose.
      // https://docs.aws.amazon.com/firehose/latest/APIReference/API_OpenXJsonSerDe.html
      inputFormat: new firehose.OpenXJsonInputFormat({ lowercaseColumnNames: true }),
      outputFormat: new firehose.ParquetOutputFormat({ compression: firehose.ParquetCompression.SNAPPY }),
    };
  }
}
