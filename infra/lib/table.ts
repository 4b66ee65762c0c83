/** What all of Millrace's DynamoDB tables have in common. */
import { RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type { Settings } from './settings.ts';

/**
 * On-demand capacity, encryption at rest, point-in-time recovery, and the removal policy.
 *
 * The key is the one AWS manages for DynamoDB: its use shows in CloudTrail, and it costs no
 * monthly fee and needs no key policy that could lock a table away. A key of one's own is worth
 * having when somebody outside the account must be given, or refused, the data by key alone.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html
 *
 * Recovery is on for the read models too: they can be built anew from the events, but restoring
 * is faster, and that is the moment in which people wait.
 */
export function tableDefaults(settings: Settings) {
  const retain = settings.removalPolicy === 'retain';
  return {
    billing: dynamodb.Billing.onDemand(),
    encryption: dynamodb.TableEncryptionV2.awsManagedKey(),
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    deletionProtection: retain,
    removalPolicy: retain ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
  } satisfies Partial<dynamodb.TablePropsV2>;
}
