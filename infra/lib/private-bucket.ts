/** The properties that all of Millrace's buckets share. */
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct, IConstruct } from 'constructs';
import type { Settings } from './settings.ts';

export interface PrivateBucketProps {
  /** The stack's settings. `removalPolicy` decides whether the bucket outlives the stack. */
  readonly settings: Settings;
  /** When objects expire. Each bucket also has a rule that drops unfinished uploads after 7 days. */
  readonly lifecycleRules: s3.LifecycleRule[];
  /**
   * The bucket to which S3 writes the access log of this one.
   * @default - no access log, which is right only for the bucket of the access logs
   */
  readonly accessLogs?: s3.IBucket;
}

/**
 * A bucket that is encrypted, without public access, and accessible over TLS only.
 *
 * The encryption is SSE-S3: Lambda, Firehose and Athena need no key policy, and no object needs a KMS
 * request, which would be billed.
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
   * Acknowledges cdk-nag's finding that `writer` may access all objects below `prefix`, because only the
   * prefix of their names is known at synthesis.
   */
  acknowledgePrefix(writer: IConstruct, prefix: string, reason: string): void {
    const bucket = Stack.of(this).getLogicalId(this.node.defaultChild as s3.CfnBucket);
    Validations.of(writer).acknowledge({
      id: `AwsSolutions::AwsSolutions-IAM5[Resource::<${bucket}.Arn>/${prefix}*]`,
      reason,
    });
  }
}
