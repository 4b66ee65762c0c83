/** What all of Millrace's buckets have in common. */
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct, IConstruct } from 'constructs';
import type { Settings } from './settings.ts';

export interface PrivateBucketProps {
  readonly settings: Settings;
  readonly lifecycleRules: s3.LifecycleRule[];
  /** Where each access to this bucket is logged; left out for that bucket itself. */
  readonly accessLogs?: s3.IBucket;
}

/**
 * A bucket that is encrypted, closed to the public, and reached over TLS only.
 *
 * Encryption is S3's own (SSE-S3): Lambda, Firehose and Athena write and read it without a key
 * policy between them, and there is no KMS request to pay for per object.
 */
export class PrivateBucket extends s3.Bucket {
  constructor(scope: Construct, id: string, { settings, lifecycleRules, accessLogs }: PrivateBucketProps) {
    super(scope, id, {
      encryption: s3.BucketEncryption.S3_MANAGED,
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      removalPolicy: settings.removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
      lifecycleRules: [
        ...lifecycleRules,
        { id: 'drop-unfinished-uploads', abortIncompleteMultipartUploadAfter: Duration.days(7) },
      ],
      ...(accessLogs && { serverAccessLogsBucket: accessLogs }),
    });
  }

  /**
   * Tells cdk-nag that `writer` may name the objects below `prefix` itself: only the prefix is
   * known beforehand.
   */
  acknowledgePrefix(writer: IConstruct, prefix: string, reason: string): void {
    const bucket = Stack.of(this).getLogicalId(this.node.defaultChild as s3.CfnBucket);
    Validations.of(writer).acknowledge({
      id: `AwsSolutions::AwsSolutions-IAM5[Resource::<${bucket}.Arn>/${prefix}*]`,
      reason,
    });
  }
}
