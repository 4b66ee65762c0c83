/** The properties that all of Millrace's DynamoDB tables share. */
import { RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { removalPolicy, type Settings } from './settings.ts';
import { STAGES } from './stage.ts';

/**
 * The role of a table. A tag on the table contains it, so that a command can check, before it writes, that a
 * name refers to the right table.
 */
export type TableRole = 'events' | 'idempotency' | 'cursors' | 'views' | 'history' | 'reconciler';

/** The tag with the table's role. The operators' commands read it: `cli/src/operate/`. */
export const ROLE_TAG = 'millrace:role';

export interface TableProps {
  /** The stack's settings. `removalPolicy` decides whether the table outlives the stack. */
  readonly settings: Settings;
  /** The value of the tag `millrace:role`, unique within the stack. */
  readonly role: TableRole;
  /** The attribute that determines the partition. It can't be changed without replacing the table. */
  readonly partitionKey: dynamodb.Attribute;
  /**
   * The attribute that orders the items of a partition. It can't be changed without replacing the table.
   * @default - none: the partition key identifies an item
   */
  readonly sortKey?: dynamodb.Attribute;
  /**
   * The images of an item that the records of the table's stream contain.
   * @default - the table has no stream
   */
  readonly dynamoStream?: dynamodb.StreamViewType;
  /**
   * The attribute with the time, in Unix seconds, after which DynamoDB deletes the item.
   * @default - items don't expire
   */
  readonly timeToLiveAttribute?: string;
  /**
   * A sparse index that finds the marked items of the table without a scan.
   * @default - the table has no index
   */
  readonly markedItems?: MarkedItems;
}

/**
 * A sparse index: it contains only the items that have both of its key attributes, which the functions write
 * and remove together with the mark. An item of the index contains only keys. For the other attributes, the
 * reconciler reads the table consistently.
 *
 * `partitionKey` has several values (`blocked/0` to `blocked/7`), because all writes with the same value go
 * to one partition, and a throttled index throttles the writes to its table.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html
 */
export interface MarkedItems {
  /** The name by which the functions query the index, 3 to 255 characters, unique within the table. */
  readonly indexName: string;
  /** The attribute with the kind of the mark and one of eight partitions, such as `blocked/3`. */
  readonly partitionKey: string;
  /** The attribute with the time when the mark was set, in RFC 3339, so that the oldest mark is first. */
  readonly sortKey: string;
}

/**
 * On-demand capacity, encryption at rest, point-in-time recovery and the removal policy. A table that is retained is
 * also protected from deletion.
 *
 * The key is the one that AWS manages for DynamoDB: CloudTrail records its use, it has no monthly fee, and no
 * key policy can make a table inaccessible. A customer managed key is needed only to grant or deny access to
 * the data by the key, for example to another AWS account.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html
 *
 * Point-in-time recovery is also enabled for the read models. They can be rebuilt from the events, but a
 * restore shortens an outage, because it is faster.
 */
export function tableDefaults(removalPolicy: RemovalPolicy) {
  return {
    billing: dynamodb.Billing.onDemand(),
    encryption: dynamodb.TableEncryptionV2.awsManagedKey(),
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    deletionProtection: removalPolicy === RemovalPolicy.RETAIN,
    removalPolicy,
  } satisfies Partial<dynamodb.TablePropsV2>;
}

/** A table of Millrace, with the tag that contains its role. */
export class Table extends dynamodb.TableV2 {
  private readonly index: string | undefined;

  constructor(scope: Construct, id: string, { settings, role, markedItems, ...props }: TableProps) {
    const tags = [{ key: ROLE_TAG, value: role }];
    super(scope, id, {
      ...props,
      ...tableDefaults(removalPolicy(settings)),
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
   * Allows these actions on the table, without its indices. CDK's own method would add all indices of the
   * table.
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

  /** Also sets the tags in the property that the emulator reads, which CloudFormation doesn't have. */
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
