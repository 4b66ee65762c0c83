import { Duration, Stack, type StackProps } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as sns from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import { DomainStreamReference, PositionTable, Subscriber } from 'millrace-infra';

export interface NotifierProps extends StackProps {
  /** The output `StreamArn` of Millrace. */
  readonly streamArn: string;
  /** The folder with the function's code. */
  readonly code: string;
}

export class Notifier extends Stack {
  constructor(scope: Construct, id: string, { streamArn, code, ...props }: NotifierProps) {
    super(scope, id, props);
    const positions = new PositionTable(this, 'Positions');
    const undecodable = new dynamodb.TableV2(this, 'Undecodable', {
      partitionKey: { name: 'StreamId', type: dynamodb.AttributeType.STRING },
    });
    const logGroup = new logs.LogGroup(this, 'Logs', { retention: logs.RetentionDays.ONE_MONTH });
    const handler = new lambda.Function(this, 'Function', {
      runtime: lambda.Runtime.PYTHON_3_12,
      handler: 'app.handler',
      code: lambda.Code.fromAsset(code),
      environment: { POSITIONS_TABLE: positions.tableName, UNDECODABLE_TABLE: undecodable.tableName },
      timeout: Duration.seconds(60),
      memorySize: 256,
      logGroup,
    });
    positions.grantConsume(handler);
    iam.Grant.addToPrincipal({
      grantee: handler,
      actions: ['dynamodb:PutItem'],
      resourceArns: [undecodable.tableArn],
    });

    const subscriber = new Subscriber(this, 'Subscriber', {
      stream: DomainStreamReference.fromAttributes(this, 'DomainStream', { streamArn, retentionHours: 168 }),
      handler,
    });
    subscriber.alarmOnLog(logGroup);
    subscriber.notify(new sns.Topic(this, 'Alarms'));
  }
}
