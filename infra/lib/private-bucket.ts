/** The properties that all of Millrace's buckets share. */
import { Duration, type RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct, IConstruct } from 'constructs';

export interface PrivateBucketProps {
  /** Whether the bucket outlives the stack. A bucket that contains objects isn't emptied: its deletion fails. */
  readonly removalPolicy: RemovalPolicy;
  /** When objects expire. Each bucket also has a rule that drops unfinished uploads after 7 days. */
  readonly lifecycleRules: s3.LifecycleRule[];
  /**
   * The bucket to which S3 writes the access log of this one.
   * @default - no access log, which is right for the bucket of the access logs
   */
  readonly accessLogs?: s3.IBucket | undefined;
}

/**
 * A bucket that is encrypted, without public access, and accessible over TLS only.
 *
 * The encryption is SSE-S3: Lambda, Firehose and Athena need no key policy, and no object needs a KMS
 * request, which would be billed.
 */
export class PrivateBucket extends s3.Bucket {
  constructor(scope: Construct, id: string, { removalPolicy, lifecycleRules, accessLogs }: PrivateBucketProps) {
    super(scope, id, {
      encryption: s3.BucketEncryption.S3_MANAGED,
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      removalPolicy,
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
    acknowledgePrefix(this, writer, prefix, reason);
  }
}

/** The same for a bucket that isn't a `PrivateBucket`, because it was given. */
export function acknowledgePrefix(bucket: s3.IBucket, writer: IConstruct, prefix: string, reason: string): void {
  Validations.of(writer).acknowledge({
    id: `AwsSolutions::AwsSolutions-IAM5[Resource::${arnInFindings(bucket)}/${prefix}*]`,
    reason,
  });
}

/** A bucket's ARN as cdk-nag writes it: each reference between angle brackets. */
function arnInFindings(bucket: s3.IBucket): string {
  const resource = bucket.node.defaultChild;
  if (resource instanceof s3.CfnBucket) return `<${Stack.of(resource).getLogicalId(resource)}.Arn>`;
  const arn = Stack.of(bucket).resolve(bucket.bucketArn) as
    | string
    | { 'Fn::Join': [string, (string | { Ref: string })[]] };
  if (typeof arn === 'string') return arn;
  return arn['Fn::Join'][1].map((part) => (typeof part === 'string' ? part : `<${part.Ref}>`)).join('');
}
