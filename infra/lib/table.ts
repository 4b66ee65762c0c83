/** What all of Millrace's DynamoDB tables have in common. */
import { RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import type { Settings } from './settings.ts';
import { STAGES } from './stage.ts';

/**
 * What a table is for. A tag on the table contains it, so that a command that is about to write can
 * check that the table whose name it was given is the table that it means.
 */
export type TableRole = 'events' | 'idempotency' | 'cursors' | 'views' | 'history' | 'reconciler';

/** The tag with the table's role. The operators' commands read it: `cli/src/operate/`. */
export const ROLE_TAG = 'millrace:role';

export interface TableProps
  extends Pick<dynamodb.TablePropsV2, 'partitionKey' | 'sortKey' | 'dynamoStream' | 'timeToLiveAttribute'> {
  readonly settings: Settings;
  readonly role: TableRole;
  /**
   * A sparse index that finds the marked items of the table without a scan.
   * @default - none
   */
  readonly markedItems?: MarkedItems;
}

/**
 * A sparse index: it contains only the items that have both of its key attributes, which the functions
 * write and remove together with the mark. An item of it is its keys, no more; whoever needs the rest
 * reads the table, consistently.
 *
 * `partitionKey` has several values (`blocked/0` to `blocked/7`), because every write to an index key
 * with one value ends in one partition, and an index that throttles makes the writes to its table
 * throttle.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html
 */
export interface MarkedItems {
  readonly indexName: string;
  /** Kind of the mark and the item's partition of eight, such as `blocked/3`. */
  readonly partitionKey: string;
  /** When the mark was set, RFC 3339: the oldest comes first. */
  readonly sortKey: string;
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
  private readonly index: string | undefined;

  constructor(scope: Construct, id: string, { settings, role, markedItems, ...props }: TableProps) {
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
      ...(markedItems && {
        globalSecondaryIndexes: [
          {
            indexName: markedItems.indexName,
            partitionKey: { name: markedItems.partitionKey, type: dynamodb.AttributeType.STRING },
            sortKey: { name: markedItems.sortKey, type: dynamodb.AttributeType.STRING },
            projectionType: dynamodb.ProjectionType.KEYS_ONLY,
          },
        ],
      }),
    });
    this.index = markedItems?.indexName;
    if (STAGES[settings.stage].tableTagsBesideReplicas) this.tagBesideReplicas(tags);
  }

  /**
   * Allows these actions on the table alone. CDK's own method adds every index of the table, by a
   * wildcard.
   */
  override grant(grantee: iam.IGrantable, ...actions: string[]): iam.Grant {
    return iam.Grant.addToPrincipal({ grantee, actions, resourceArns: [this.tableArn] });
  }

  /** Allows queries of the index of marked items. */
  grantMarkedItems(grantee: iam.IGrantable): iam.Grant {
    if (this.index === undefined) throw new Error(`${this.node.path} has no index`);
    const resourceArns = [`${this.tableArn}/index/${this.index}`];
    return iam.Grant.addToPrincipal({ grantee, actions: ['dynamodb:Query'], resourceArns });
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
