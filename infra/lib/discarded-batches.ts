/**
 * Where Lambda puts a batch of stream records that it has given up on.
 *
 * An S3 destination gets the records themselves; a queue or a topic would get only their
 * positions in a stream that forgets them.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
 *
 * Nothing is lost when an object appears here: every event is in the events table, and can be
 * published or projected again from there. The object says that it has to be, and why.
 */
import { Duration } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { PrivateBucket } from './private-bucket.ts';
import type { Settings } from './settings.ts';

export interface DiscardedBatchesProps {
  readonly settings: Settings;
  readonly accessLogs: s3.IBucket;
}

/** Where Lambda writes in a bucket that is the failure destination of a mapping. */
const WRITTEN_BY_LAMBDA = 'aws/lambda/';

export class DiscardedBatches extends Construct implements lambda.IEventSourceDlq {
  readonly bucket: PrivateBucket;

  constructor(scope: Construct, id: string, props: DiscardedBatchesProps) {
    super(scope, id);
    this.bucket = new PrivateBucket(this, 'Bucket', {
      settings: props.settings,
      accessLogs: props.accessLogs,
      lifecycleRules: [{ id: 'expire', expiration: Duration.days(props.settings.failureRetentionDays) }],
    });
  }

  /**
   * Makes this the failure destination of a mapping.
   *
   * CDK's own S3OnFailureDestination lets the function read and delete everything in the bucket.
   * Lambda asks for these two actions, and writes below `aws/lambda/` only.
   * https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
   */
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
    this.bucket.acknowledgePrefix(
      handler.role!,
      WRITTEN_BY_LAMBDA,
      'Lambda names the objects itself, by mapping and time; only the prefix is known beforehand.',
    );
    return { destination: this.bucket.bucketArn };
  }

  /** Lets `reader` list and read the batches. Elsewhere in the bucket it can do neither. */
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
      'The objects that Lambda has written are read, whatever their names are.',
    );
  }
}
