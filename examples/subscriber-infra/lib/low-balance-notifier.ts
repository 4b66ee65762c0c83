/** The stack of a team that subscribes to the domain stream: a function, its tables, and the subscription. */
import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import { DomainStreamReference, PositionTable, StartingPosition, Subscriber } from 'millrace-infra';
import type { Settings } from './settings.ts';

/** How Lambda runs each of the services. */
const RUNTIMES = {
  python: { runtime: lambda.Runtime.PYTHON_3_12, handler: 'app.handler' },
  node: { runtime: lambda.Runtime.NODEJS_22_X, handler: 'app.handler' },
  rust: { runtime: lambda.Runtime.PROVIDED_AL2023, handler: 'bootstrap' },
} as const satisfies Record<Settings['subscriber'], object>;

export interface LowBalanceNotifierProps extends StackProps {
  /** What `readSettings` returned. */
  readonly settings: Settings;
}

export class LowBalanceNotifier extends Stack {
  /** The subscription, unless the setting `subscribe` is false. `subscriber.notify(topic)` sets the topic of its alarms. */
  readonly subscriber: Subscriber | undefined;

  constructor(scope: Construct, id: string, { settings, ...props }: LowBalanceNotifierProps) {
    super(scope, id, { description: 'Notifies the owners of accounts whose balance becomes low', ...props });
    const isRetained = settings.removalPolicy === 'retain';
    const removalPolicy = isRetained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY;

    const positions = new PositionTable(this, 'Positions', { removalPolicy });
    const tableProps = {
      encryption: dynamodb.TableEncryptionV2.awsManagedKey(),
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: isRetained,
      removalPolicy,
    };
    const notifications = new dynamodb.TableV2(this, 'Notifications', {
      partitionKey: { name: 'Account', type: dynamodb.AttributeType.STRING },
      sortKey: { name: 'Sequence', type: dynamodb.AttributeType.NUMBER },
      ...tableProps,
    });
    const undecodable = new dynamodb.TableV2(this, 'Undecodable', {
      partitionKey: { name: 'StreamId', type: dynamodb.AttributeType.STRING },
      ...tableProps,
    });

    // A log group and a role of its own: the CDK's default role may write to every log group of the AWS account.
    const logGroup = new logs.LogGroup(this, 'Logs', { retention: logs.RetentionDays.ONE_MONTH, removalPolicy });
    const role = new iam.Role(this, 'Role', { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
    logGroup.grantWrite(role);
    const handler = new lambda.Function(this, 'Function', {
      description: 'Writes a notification when the balance of an account becomes low',
      ...RUNTIMES[settings.subscriber],
      code: lambda.Code.fromAsset(settings.code),
      architecture: settings.architecture === 'arm64' ? lambda.Architecture.ARM_64 : lambda.Architecture.X86_64,
      environment: {
        POSITIONS_TABLE: positions.tableName,
        NOTIFICATIONS_TABLE: notifications.tableName,
        UNDECODABLE_TABLE: undecodable.tableName,
        LOW_BALANCE: settings.lowBalance,
      },
      timeout: Duration.seconds(60),
      memorySize: 512,
      role,
      logGroup,
    });

    // The service reads and saves positions, and only adds items to the other two tables. A notification is written in
    // the transaction that saves the position, which needs the permission of a put.
    positions.grantConsume(handler);
    for (const { tableArn } of [notifications, undecodable]) {
      iam.Grant.addToPrincipal({ grantee: handler, actions: ['dynamodb:PutItem'], resourceArns: [tableArn] });
    }

    if (settings.subscribe) {
      this.subscriber = new Subscriber(this, 'Subscriber', {
        stream: DomainStreamReference.fromAttributes(this, 'DomainStream', {
          streamArn: settings.streamArn,
          ...(settings.streamKeyArn !== undefined && { encryptionKeyArn: settings.streamKeyArn }),
          ...(settings.retentionHours !== undefined && { retentionHours: settings.retentionHours }),
        }),
        handler,
        ...(settings.startAt !== undefined && { startingPosition: StartingPosition.atTimestamp(settings.startAt) }),
        removalPolicy,
      });
      this.subscriber.alarmOnLog(logGroup);
    }

    const outputs = {
      FunctionName: handler.functionName,
      PositionsTable: positions.tableName,
      NotificationsTable: notifications.tableName,
      UndecodableTable: undecodable.tableName,
      ...(this.subscriber && { FailureBucket: this.subscriber.failureBucket.bucketName }),
    };
    for (const [name, value] of Object.entries(outputs)) new CfnOutput(this, name, { value });
  }
}
