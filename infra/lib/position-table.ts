/** The table in which the libraries for consumers store their positions. */
import { RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { tableDefaults } from './table.ts';

export interface PositionTableProps {
  /**
   * Whether the table outlives the stack. A retained table is also protected from deletion. Without its positions, a
   * consumer would apply every event again.
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;
}

/**
 * The DynamoDB table of a consumer's positions: one item per aggregate, with the sequence of the last event that was
 * applied. The partition key is `Subject`, a string. The table has on-demand capacity, encryption at rest and
 * point-in-time recovery. consumers/README.md describes the items.
 */
export class PositionTable extends Construct {
  /** The table. */
  readonly table: dynamodb.ITableV2;

  constructor(scope: Construct, id: string, props: PositionTableProps = {}) {
    super(scope, id);
    this.table = new dynamodb.TableV2(this, 'Table', {
      partitionKey: { name: 'Subject', type: dynamodb.AttributeType.STRING },
      ...tableDefaults(props.removalPolicy ?? RemovalPolicy.RETAIN),
    });
  }

  /** The table's name, which the libraries for consumers need. */
  get tableName(): string {
    return this.table.tableName;
  }

  /**
   * Allows what the libraries for consumers do with positions: read one, and save one, alone or in a transaction
   * together with the consumer's own writes. TransactWriteItems needs the permission of each of its entries, and the
   * position's entry is an update. The tables of the consumer's own writes need grants of their own.
   * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
   */
  grantConsume(grantee: iam.IGrantable): iam.Grant {
    return iam.Grant.addToPrincipal({
      grantee,
      actions: ['dynamodb:GetItem', 'dynamodb:UpdateItem'],
      resourceArns: [this.table.tableArn],
    });
  }
}
