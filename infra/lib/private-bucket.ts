/** The properties that all of Millrace's buckets share. */
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
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
    });
    if (accessLogs) this.writeAccessLog(accessLogs);
  }

  /**
   * Lets S3 write the access log to `target`. `serverAccessLogsBucket` does the same only in apps with CDK's
   * feature flag `@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy`. In others it needs an ACL on the target, and
   * buckets whose owner owns all objects have no ACLs.
   * https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
   */
  private writeAccessLog(target: s3.IBucket): void {
    const resource = this.node.defaultChild as s3.CfnBucket;
    resource.loggingConfiguration = { destinationBucketName: target.bucketName };
    target.addToResourcePolicy(
      new iam.PolicyStatement({
        principals: [new iam.ServicePrincipal('logging.s3.amazonaws.com')],
        actions: ['s3:PutObject'],
        resources: [target.arnForObjects('*')],
        conditions: {
          ArnLike: { 'aws:SourceArn': this.bucketArn },
          StringEquals: { 'aws:SourceAccount': Stack.of(this).account },
        },
      }),
    );
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
