/** The domain stream of a Millrace deployment, as the stack of a subscriber refers to it. */
import { Duration, Token } from 'aws-cdk-lib';
import * as kinesis from 'aws-cdk-lib/aws-kinesis';
import * as kms from 'aws-cdk-lib/aws-kms';
import { Construct } from 'constructs';

/**
 * The shortest retention period of a Kinesis stream.
 * https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html
 */
const SHORTEST_RETENTION_HOURS = 24;

/** The longest retention period: 365 days. */
const LONGEST_RETENTION_HOURS = 8760;

/** What a subscriber knows about the domain stream: outputs and settings of the deployment that publishes to it. */
export interface DomainStreamAttributes {
  /**
   * The stream's ARN: the output `StreamArn` of the deployment. The stream may be in another AWS account, if the
   * deployment shares it (its setting `shareWithAccounts`).
   */
  readonly streamArn: string;
  /**
   * The ARN of the customer-managed key that encrypts the stream: the output `StreamKeyArn` of the deployment, which
   * exists with its setting `streamKey=customer-managed`. The ARN of an alias isn't sufficient, because IAM policies
   * refer to keys only.
   * https://docs.aws.amazon.com/kms/latest/developerguide/security_iam_service-with-iam.html
   * @default - the key that AWS manages for Kinesis, which needs no permission
   */
  readonly encryptionKeyArn?: string;
  /**
   * How many hours the stream retains an event, 24 to 8760: the deployment's setting `retentionHours`, which is 168 by
   * default. If the number is higher than the stream's, Lambda retries a failed batch until the stream has deleted it,
   * and the batch doesn't reach the failure destination.
   * @default 24 - the shortest retention of any stream, which is always safe: a failed batch is retried for 22 hours
   */
  readonly retentionHours?: number;
}

/** Refers to the domain stream of a Millrace deployment. */
export class DomainStreamReference extends Construct {
  /** Refers to a stream by its ARN. It creates no resource. */
  static fromAttributes(scope: Construct, id: string, attributes: DomainStreamAttributes): DomainStreamReference {
    return new DomainStreamReference(scope, id, attributes);
  }

  /** The stream. */
  readonly stream: kinesis.IStream;
  /** The customer-managed key that encrypts the stream. `undefined` with the key that AWS manages. */
  readonly encryptionKey: kms.IKey | undefined;
  /** How long the stream retains an event. */
  readonly retentionPeriod: Duration;

  private constructor(scope: Construct, id: string, attributes: DomainStreamAttributes) {
    super(scope, id);
    const { streamArn, encryptionKeyArn, retentionHours = SHORTEST_RETENTION_HOURS } = attributes;
    this.check('streamArn', streamArn, /^arn:[^:]+:kinesis:[^:]+:\d{12}:stream\/[^/]+$/, 'the ARN of a Kinesis stream');
    if (encryptionKeyArn !== undefined) {
      this.check('encryptionKeyArn', encryptionKeyArn, /^arn:[^:]+:kms:[^:]+:\d{12}:key\/.+$/, 'the ARN of a KMS key');
    }
    const isHours = Number.isInteger(retentionHours);
    if (!isHours || retentionHours < SHORTEST_RETENTION_HOURS || retentionHours > LONGEST_RETENTION_HOURS) {
      throw new Error(`${this.node.path}: retentionHours is ${retentionHours}; allowed: an integer from 24 to 8760`);
    }
    this.encryptionKey = encryptionKeyArn === undefined ? undefined : kms.Key.fromKeyArn(this, 'Key', encryptionKeyArn);
    this.stream = kinesis.Stream.fromStreamArn(this, 'Stream', streamArn);
    this.retentionPeriod = Duration.hours(retentionHours);
  }

  private check(name: string, value: string, form: RegExp, allowed: string): void {
    if (Token.isUnresolved(value) || form.test(value)) return;
    throw new Error(`${this.node.path}: ${name} is ${JSON.stringify(value)}; allowed: ${allowed}`);
  }
}
