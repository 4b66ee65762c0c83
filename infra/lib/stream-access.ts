/**
 * Who may use the domain stream beyond the policies of IAM: its key, and its only resource policy, which the settings
 * `shareWithAccounts` and `restrictWriters` have in common.
 */
import { CfnOutput, Lazy, Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kinesis from 'aws-cdk-lib/aws-kinesis';
import * as kms from 'aws-cdk-lib/aws-kms';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { READ_ACTIONS } from './domain-stream-consumer.ts';
import { removalPolicy, type Settings } from './settings.ts';

/** Creates the key of the setting `streamKey=customer-managed`, and the output that names it. */
export function streamKey(scope: Construct, settings: Settings): kms.Key | undefined {
  if (settings.streamKey === 'aws-managed') return undefined;
  const key = new kms.Key(scope, 'StreamKey', {
    description: `Encrypts the domain stream of ${Stack.of(scope).stackName}`,
    enableKeyRotation: true,
    removalPolicy: removalPolicy(settings),
  });
  new CfnOutput(Stack.of(scope), 'StreamKeyArn', {
    value: key.keyArn,
    description: 'ARN of the key that encrypts the domain stream, which its consumers need',
  });
  return key;
}

/** The access to the stream. */
export class StreamAccess {
  private readonly stream: kinesis.Stream;
  private readonly writers: string[];

  constructor(stream: kinesis.Stream, { shareWithAccounts, restrictWriters, writerRoles }: Settings) {
    this.stream = stream;
    this.writers = [...writerRoles];
    if (shareWithAccounts.length > 0) this.share(shareWithAccounts);
    if (restrictWriters) this.restrictWriters();
  }

  /**
   * Allows a function of this stack to publish: to write records, and to encrypt them with a customer-managed key.
   * https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html
   */
  grantPublish(handler: lambda.IFunction): void {
    this.stream.grant(handler, 'kinesis:PutRecords');
    this.stream.encryptionKey?.grant(handler, 'kms:GenerateDataKey');
    this.writers.push(handler.role!.roleArn);
  }

  /**
   * Allows consumers in other AWS accounts to read and to decrypt, as far as policies of their accounts do.
   *
   * No condition restricts the key to this stream, because the key would refer to the stream, which refers to the key.
   * But the key encrypts only this stream.
   * https://docs.aws.amazon.com/streams/latest/dev/resource-based-policy-examples.html
   */
  private share(accountsOrRoles: readonly string[]): void {
    const sid = 'ReadByOtherAccounts';
    const principals = accountsOrRoles.map((it) =>
      it.startsWith('arn:') ? new iam.ArnPrincipal(it) : new iam.AccountPrincipal(it),
    );
    const { streamArn, encryptionKey } = this.stream;
    this.stream.addToResourcePolicy(
      new iam.PolicyStatement({ sid, principals, actions: READ_ACTIONS, resources: [streamArn] }),
    );
    encryptionKey!.addToResourcePolicy(
      new iam.PolicyStatement({ sid, principals, actions: ['kms:Decrypt'], resources: ['*'] }),
    );
  }

  /**
   * Denies writing to everyone except the writers. For a session of a role, `aws:PrincipalArn` is the ARN of the role.
   * `NotPrincipal` would have to name each session.
   * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
   * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
   * https://docs.aws.amazon.com/streams/latest/dev/controlling-access.html
   */
  private restrictWriters(): void {
    this.stream.addToResourcePolicy(
      new iam.PolicyStatement({
        sid: 'WriteByNobodyElse',
        effect: iam.Effect.DENY,
        principals: [new iam.AnyPrincipal()],
        actions: ['kinesis:PutRecord', 'kinesis:PutRecords'],
        resources: [this.stream.streamArn],
        conditions: { ArnNotEquals: { 'aws:PrincipalArn': Lazy.list({ produce: () => this.writers }) } },
      }),
    );
  }
}
