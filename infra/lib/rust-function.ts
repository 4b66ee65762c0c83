/**
 * A Lambda function written in Rust, with a role and a log group of its own.
 *
 * Cargo builds the binary before synthesis. This construct only reads it from the artifacts.
 */
import { resolve } from 'node:path';
import { type Duration, Validations } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import { addInvocationAlarms } from './invocation-alarms.ts';
import { FUNCTIONS, type FunctionName } from './names.ts';
import { removalPolicy, type Settings } from './settings.ts';

/** The namespace of the functions' own metrics, `NAMESPACE` in Rust. */
const METRICS = 'Millrace';

export interface RustFunctionProps {
  /** The stack's settings. They determine the folder of the code, the architecture and the log retention. */
  readonly settings: Settings;
  /** The registry that gets the alarms on failed and throttled invocations. */
  readonly alarms: MillraceAlarms;
  /** The function's name, which is also the name of the artifact folder that contains its bootstrap. */
  readonly name: FunctionName;
  /** All variables that the function reads from its environment, except those that Lambda sets. */
  readonly environment: Readonly<Record<string, string>>;
  /** How long one invocation may run, up to 15 minutes. The function's own deadlines are derived from it. */
  readonly timeout: Duration;
  /**
   * Memory in MB, 128 to 10,240. It determines the share of CPU, one core at 1,769 MB, which TLS handshakes and encoding
   * need. The binaries themselves need about 30 MB.
   * https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
   */
  readonly memoryMB: number;
}

export class RustFunction extends Construct {
  readonly name: FunctionName;
  readonly handler: lambda.Function;
  readonly logGroup: logs.LogGroup;

  constructor(scope: Construct, id: string, props: RustFunctionProps) {
    super(scope, id);
    const { settings, alarms, name } = props;
    this.name = name;

    this.logGroup = new logs.LogGroup(this, 'Logs', {
      retention: settings.logRetentionDays,
      removalPolicy: removalPolicy(settings),
    });

    // CDK's default role would have the policy AWSLambdaBasicExecutionRole, which may write to every log
    // group of the AWS account.
    const role = new iam.Role(this, 'Role', {
      assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com'),
      description: `What Millrace's ${name} may do`,
    });
    this.logGroup.grantWrite(role);

    this.handler = new lambda.Function(this, 'Function', {
      description: FUNCTIONS[name],
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: settings.architecture === 'arm64' ? lambda.Architecture.ARM_64 : lambda.Architecture.X86_64,
      handler: 'bootstrap',
      code: lambda.Code.fromAsset(resolve(settings.artifacts, name)),
      environment: props.environment,
      timeout: props.timeout,
      memorySize: props.memoryMB,
      role,
      logGroup: this.logGroup,
      // CDK adds X-Ray's permissions to the role.
      tracing: settings.activeTracing ? lambda.Tracing.ACTIVE : undefined,
      loggingFormat: lambda.LoggingFormat.JSON,
      applicationLogLevelV2: lambda.ApplicationLogLevel.INFO,
      systemLogLevelV2: lambda.SystemLogLevel.WARN,
    });

    if (settings.activeTracing) {
      Validations.of(role).acknowledge({
        id: 'AwsSolutions::AwsSolutions-IAM5[Resource::*]',
        // https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
        reason: 'PutTraceSegments and PutTelemetryRecords support no resource-level permissions.',
      });
    }

    addInvocationAlarms(this, this, alarms);
  }

  /**
   * A metric that the function itself writes, as a log line in embedded metric format
   * (`runtime/src/metrics.rs`). A test compares the names on the dashboard with the list in that file.
   */
  metric(metricName: string, statistic = 'Sum'): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: METRICS,
      metricName,
      dimensionsMap: { FunctionName: this.handler.functionName },
      statistic,
    });
  }
}
