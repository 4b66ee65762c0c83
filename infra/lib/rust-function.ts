/**
 * A Lambda function written in Rust, with a role and a log group of its own.
 *
 * Cargo builds the binary before synthesis. This construct only reads it from the artifacts.
 */
import { resolve } from 'node:path';
import { type Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { FUNCTIONS, type FunctionName } from './names.ts';
import type { Settings } from './settings.ts';

export interface RustFunctionProps {
  /** The stack's settings. They determine the folder of the code, the architecture and the log retention. */
  readonly settings: Settings;
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
  readonly handler: lambda.Function;
  readonly logGroup: logs.LogGroup;

  constructor(scope: Construct, id: string, props: RustFunctionProps) {
    super(scope, id);
    const { settings } = props;

    this.logGroup = new logs.LogGroup(this, 'Logs', {
      retention: settings.logRetentionDays,
      removalPolicy: settings.removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });

    // CDK's default role would have the policy AWSLambdaBasicExecutionRole, which may write to every log
    // group of the AWS account.
    const role = new iam.Role(this, 'Role', {
      assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com'),
      description: `What Millrace's ${props.name} may do`,
    });
    this.logGroup.grantWrite(role);

    this.handler = new lambda.Function(this, 'Function', {
      description: FUNCTIONS[props.name],
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: settings.architecture === 'arm64' ? lambda.Architecture.ARM_64 : lambda.Architecture.X86_64,
      handler: 'bootstrap',
      code: lambda.Code.fromAsset(resolve(settings.artifacts, props.name)),
      environment: props.environment,
      timeout: props.timeout,
      memorySize: props.memoryMB,
      role,
      logGroup: this.logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      applicationLogLevelV2: lambda.ApplicationLogLevel.INFO,
      systemLogLevelV2: lambda.SystemLogLevel.WARN,
    });
  }
}
