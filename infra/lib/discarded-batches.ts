/**
 * The failure destination: the bucket to which Lambda writes a batch of stream records that it discards.
 *
 * An S3 destination receives the records themselves. A queue or a topic would receive only their positions in
 * the stream, which deletes them at the end of its retention period.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
 *
 * A discarded batch loses no event: every event is in the events table, and can be published or projected
 * again from there. The object contains the batch that has to be repaired, and the reason.
 */
import type { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { acknowledgePrefix, PrivateBucket } from './private-bucket.ts';

export interface DiscardedBatchesProps {
  /** Whether the bucket outlives the stack. */
  readonly removalPolicy: RemovalPolicy;
  /** How long the bucket retains a batch, in whole days. */
  readonly retention: Duration;
  /**
   * The bucket to which S3 writes the access log of the failure destination.
   * @default - no access log
   */
  readonly accessLogs?: s3.IBucket | undefined;
}

/** The prefix of all objects that Lambda writes to the failure destination of a mapping. */
const WRITTEN_BY_LAMBDA = 'aws/lambda/';

/**
 * A bucket as the failure destination of a mapping.
 *
 * CDK's own S3OnFailureDestination allows the function to read and delete every object in the bucket. Lambda needs
 * only these two actions, and writes only below `aws/lambda/`. If the bucket has a customer-managed key, it also needs to
 * create data keys; for a bucket that is imported, the key has to be an attribute of the import.
 * https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
 */
export class FailureDestination implements lambda.IEventSourceDlq {
  private readonly bucket: s3.IBucket;

  constructor(bucket: s3.IBucket) {
    this.bucket = bucket;
  }

  bind(_mapping: lambda.IEventSourceMapping, handler: lambda.IFunction): lambda.DlqDestinationConfig {
    handler.addToRolePolicy(
      new iam.PolicyStatement({ actions: ['s3:ListBucket'], resources: [this.bucket.bucketArn] }),
    );
    handler.addToRolePolicy(
      new iam.PolicyStatement({
        actions: ['s3:PutObject'],
        resources: [this.bucket.arnForObjects(`${WRITTEN_BY_LAMBDA}*`)],
      }),
    );
    // Lambda encrypts the object with the role's permissions.
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
    this.bucket.encryptionKey?.grant(handler, 'kms:GenerateDataKey');
    acknowledgePrefix(
      this.bucket,
      handler.role!,
      WRITTEN_BY_LAMBDA,
      'Lambda names the objects itself, by mapping and time; only the prefix is known beforehand.',
    );
    return { destination: this.bucket.bucketArn };
  }
}

export class DiscardedBatches extends Construct implements lambda.IEventSourceDlq {
  readonly bucket: PrivateBucket;

  constructor(scope: Construct, id: string, props: DiscardedBatchesProps) {
    super(scope, id);
    this.bucket = new PrivateBucket(this, 'Bucket', {
      removalPolicy: props.removalPolicy,
      accessLogs: props.accessLogs,
      lifecycleRules: [{ id: 'expire', expiration: props.retention }],
    });
  }

  /** Makes this the failure destination of a mapping. */
  bind(mapping: lambda.IEventSourceMapping, handler: lambda.IFunction): lambda.DlqDestinationConfig {
    return new FailureDestination(this.bucket).bind(mapping, handler);
  }

  /** Allows `reader` to list and read the batches, and no other object of the bucket. */
  grantRead(reader: lambda.IFunction): void {
    reader.addToRolePolicy(
      new iam.PolicyStatement({
        actions: ['s3:ListBucket'],
        resources: [this.bucket.bucketArn],
        conditions: { StringLike: { 's3:prefix': `${WRITTEN_BY_LAMBDA}*` } },
      }),
    );
    reader.addToRolePolicy(
      new iam.PolicyStatement({
        actions: ['s3:GetObject'],
        resources: [this.bucket.arnForObjects(`${WRITTEN_BY_LAMBDA}*`)],
      }),
    );
    this.bucket.acknowledgePrefix(
      reader.role!,
      WRITTEN_BY_LAMBDA,
      'Lambda names the objects, and the reader reads all of them.',
    );
  }
}
