/** What all of Millrace's DynamoDB tables have in common. */
import { RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import type { Construct } from 'constructs';
import type { Settings } from './settings.ts';
import { STAGES } from './stage.ts';

/**
 * What a table is for. A tag on the table contains it, so that a command that is about to write can
 * check that the table whose name it was given is the table that it means.
 */
export type TableRole = 'events' | 'idempotency' | 'cursors' | 'views' | 'history';

/** The tag with the table's role. The operators' commands read it: `cli/src/operate/`. */
export const ROLE_TAG = 'millrace:role';

export interface TableProps
  extends Pick<dynamodb.TablePropsV2, 'partitionKey' | 'sortKey' | 'dynamoStream' | 'timeToLiveAttribute'> {
  readonly settings: Settings;
  readonly role: TableRole;
}

/**
 * A table with on-demand capacity, encryption at rest, point-in-time recovery, the removal policy,
 * and the tag with its role.
 *
 * The key is the one AWS manages for DynamoDB: its use shows in CloudTrail, and it costs no
 * monthly fee and needs no key policy that could lock a table away. A key of one's own is worth
 * having when somebody outside the account must be given, or refused, the data by key alone.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html
 *
 * Recovery is on for the read models too: they can be built anew from the events, but restoring
 * is faster, and that is the moment in which people wait.
 */
export class Table extends dynamodb.TableV2 {
  constructor(scope: Construct, id: string, { settings, role, ...props }: TableProps) {
    const retain = settings.removalPolicy === 'retain';
    const tags = [{ key: ROLE_TAG, value: role }];
    super(scope, id, {
      ...props,
      billing: dynamodb.Billing.onDemand(),
      encryption: dynamodb.TableEncryptionV2.awsManagedKey(),
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: retain,
      removalPolicy: retain ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
      tags,
    });
    if (STAGES[settings.stage].tableTagsBesideReplicas) this.tagBesideReplicas(tags);
  }

  /** The tags once more where the emulator reads them, a place that CloudFormation doesn't have. */
  private tagBesideReplicas(tags: { key: string; value: string }[]): void {
    const resource = this.node.defaultChild as dynamodb.CfnGlobalTable;
    resource.addPropertyOverride(
      'Tags',
      tags.map(({ key, value }) => ({ Key: key, Value: value })),
    );
    Validations.of(resource).acknowledge({
      id: 'CloudFormation-Validate::F3002',
      reason: 'Only the emulator gets this property.',
    });
    resource.addMetadata('cfn-lint', { config: { ignore_checks: ['E3002'] } });
  }
}
