/**
 * A Lambda function written in Rust, with a role and a log group of its own.
 *
 * The binary is built before synthesis, by cargo; here it is only picked up.
 */
import { resolve } from 'node:path';
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { type FunctionName, FUNCTIONS } from './names.ts';
import type { Settings } from './settings.ts';

export interface RustFunctionProps {
  readonly settings: Settings;
  /** Which artifact folder holds the bootstrap. */
  readonly name: FunctionName;
  /** Everything the function reads from its environment, besides what Lambda itself sets. */
  readonly environment: Readonly<Record<string, string>>;
  readonly timeout: Duration;
  /**
   * Memory in MB. CPU comes with it, a whole core at 1,769 MB, so this is chosen for the TLS
   * handshake and the encoding; the binaries themselves need about 30 MB.
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

    // A role of our own instead of CDK's default one: that would carry
    // AWSLambdaBasicExecutionRole, which may write to every log group of the account.
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
