/** The settings of the domain stream's key and resource policy. */
import { Validations } from 'aws-cdk-lib';
import type { Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';
import { beforeAll, describe, expect, test } from 'vitest';
import { app, template } from './synthesise.ts';

const ACCOUNT = '444455556666';
const ROLE = `arn:aws:iam::${ACCOUNT}:role/Notifier`;
const OPERATOR = 'arn:aws:iam::111122223333:role/Operator';
const SHARED = { streamKey: 'customer-managed', shareWithAccounts: `${ACCOUNT},${ROLE}` };
const RESTRICTED = { restrictWriters: true, writerRoles: OPERATOR };

type Resource = { Properties: Record<string, any>; DeletionPolicy?: string };
const all = (of: Template, type: string) => Object.entries(of.findResources(type)) as [string, Resource][];
const only = (of: Template, type: string) => {
  const [found, ...others] = all(of, type);
  expect(others).toEqual([]);
  return found!;
};
const STREAM = { 'Fn::GetAtt': [expect.stringMatching(/^DomainStream/), 'Arn'] };
const READ_ACTIONS = [
  'kinesis:DescribeStream',
  'kinesis:DescribeStreamSummary',
  'kinesis:GetRecords',
  'kinesis:GetShardIterator',
  'kinesis:ListShards',
];
/** In the order of the CDK, which sorts them. */
const OTHERS = [ROLE, { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, `:iam::${ACCOUNT}:root`]] }];
/** The roles that have a permission on a resource, by the name of their function. */
const allowedTo = (of: Template, action: string, resource: unknown) =>
  all(of, 'AWS::IAM::Policy')
    .filter(([, { Properties }]) =>
      Properties.PolicyDocument.Statement.some(
        (it: any) => [it.Action].flat().includes(action) && JSON.stringify(it.Resource) === JSON.stringify(resource),
      ),
    )
    .map(([id]) => /(Translator|Projector|Archiver|Reconciler)Role/.exec(id)![1])
    .sort();
const statements = (of: Template) =>
  only(of, 'AWS::Kinesis::ResourcePolicy')[1].Properties.ResourcePolicy.Statement as any[];
const readByOthers = expect.objectContaining({
  Effect: 'Allow',
  Principal: { AWS: OTHERS },
  Action: READ_ACTIONS,
  Resource: STREAM,
});
const writeByNobodyElse = {
  Sid: 'WriteByNobodyElse',
  Effect: 'Deny',
  Principal: { AWS: '*' },
  Action: ['kinesis:PutRecord', 'kinesis:PutRecords'],
  Resource: STREAM,
  Condition: {
    ArnNotEquals: {
      'aws:PrincipalArn': [
        OPERATOR,
        { 'Fn::GetAtt': [expect.stringMatching(/^DomainStreamTranslatorRole/), 'Arn'] },
        { 'Fn::GetAtt': [expect.stringMatching(/^ReconcilerRole/), 'Arn'] },
      ],
    },
  },
};

let managed: Template;
let shared: Template;
beforeAll(() => {
  managed = template({ streamKey: 'customer-managed' });
  shared = template(SHARED);
});

describe('by default', () => {
  test('the stream has the key of AWS, no policy, and its consumers no permission on a key', () => {
    const of = template();
    expect(all(of, 'AWS::KMS::Key')).toEqual([]);
    expect(all(of, 'AWS::Kinesis::ResourcePolicy')).toEqual([]);
    expect(of.findOutputs('StreamKeyArn')).toEqual({});
    expect(JSON.stringify(all(of, 'AWS::IAM::Policy'))).not.toContain('kms:');
    const [, stream] = only(of, 'AWS::Kinesis::Stream');
    expect(stream.Properties.StreamEncryption).toEqual({ EncryptionType: 'KMS', KeyId: 'alias/aws/kinesis' });
  });

  test('an output is the ARN of the stream', () => {
    expect(template().toJSON().Outputs.StreamArn.Value).toEqual(STREAM);
  });
});

describe('with a customer-managed key', () => {
  test('it encrypts the stream, rotates, is retained like the stream, and is an output', () => {
    const [id, key] = only(managed, 'AWS::KMS::Key');
    expect(key).toMatchObject({ DeletionPolicy: 'Retain', Properties: { EnableKeyRotation: true } });
    const [, stream] = only(managed, 'AWS::Kinesis::Stream');
    const arn = { 'Fn::GetAtt': [id, 'Arn'] };
    expect(stream.Properties.StreamEncryption).toEqual({ EncryptionType: 'KMS', KeyId: arn });
    managed.hasOutput('StreamKeyArn', { Value: arn });
    const destroyed = template({ streamKey: 'customer-managed', removalPolicy: 'destroy' });
    expect(only(destroyed, 'AWS::KMS::Key')[1].DeletionPolicy).toBe('Delete');
  });

  test('the functions that write may encrypt, those that read may decrypt, and nothing else', () => {
    const arn = { 'Fn::GetAtt': [only(managed, 'AWS::KMS::Key')[0], 'Arn'] };
    expect(allowedTo(managed, 'kms:GenerateDataKey', arn)).toEqual(['Reconciler', 'Translator']);
    expect(allowedTo(managed, 'kms:Decrypt', arn)).toEqual(['Archiver', 'Projector']);
    const actions = all(managed, 'AWS::IAM::Policy')
      .flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement.flatMap((it: any) => it.Action))
      .filter((action: string) => action.startsWith('kms:'));
    expect(new Set(actions)).toEqual(new Set(['kms:GenerateDataKey', 'kms:Decrypt']));
  });

  test('with enhanced fan-out, the projector may decrypt too', () => {
    const of = template({ streamKey: 'customer-managed', enhancedFanOut: true });
    const arn = { 'Fn::GetAtt': [only(of, 'AWS::KMS::Key')[0], 'Arn'] };
    expect(allowedTo(of, 'kms:Decrypt', arn)).toEqual(['Archiver', 'Projector']);
  });

  test('no other account may use the key, and the stream has no policy', () => {
    const [, { Properties }] = only(managed, 'AWS::KMS::Key');
    expect(Properties.KeyPolicy.Statement).toHaveLength(1);
    expect(all(managed, 'AWS::Kinesis::ResourcePolicy')).toEqual([]);
  });

  test('no resource is replaced', () => {
    const before = Object.keys(template().toJSON().Resources);
    const after = Object.keys(managed.toJSON().Resources);
    expect(after.filter((id) => !before.includes(id))).toEqual([only(managed, 'AWS::KMS::Key')[0]]);
    expect(before.filter((id) => !after.includes(id))).toEqual([]);
  });
});

describe('shared with other accounts', () => {
  test('they may read the stream', () => {
    expect(statements(shared)).toEqual([readByOthers]);
    expect(only(shared, 'AWS::Kinesis::ResourcePolicy')[1].Properties.ResourceArn).toEqual(STREAM);
  });

  test('they may decrypt, and use the key for nothing else', () => {
    const [, { Properties }] = only(shared, 'AWS::KMS::Key');
    const [, ...added] = Properties.KeyPolicy.Statement;
    expect(added).toEqual([
      expect.objectContaining({ Effect: 'Allow', Principal: { AWS: OTHERS }, Action: 'kms:Decrypt', Resource: '*' }),
    ]);
  });
});

describe('with restricted writers', () => {
  test('everyone is denied to write except the translator, the reconciler and the roles that are named', () => {
    expect(statements(template(RESTRICTED))).toEqual([writeByNobodyElse]);
  });

  test('every function that may write is an exception', () => {
    const of = template({ restrictWriters: 'true' });
    const stream = { 'Fn::GetAtt': [only(of, 'AWS::Kinesis::Stream')[0], 'Arn'] };
    const writers = [...allowedTo(of, 'kinesis:PutRecords', stream), ...allowedTo(of, 'kinesis:PutRecord', stream)];
    expect(writers).toEqual(['Reconciler', 'Translator']);
    const exceptions = statements(of)[0].Condition.ArnNotEquals['aws:PrincipalArn'] as any[];
    expect(exceptions.map((it) => /(Translator|Reconciler)Role/.exec(it['Fn::GetAtt'][0])![1]).sort()).toEqual(writers);
  });

  test('one policy has both statements', () => {
    expect(statements(template({ ...SHARED, ...RESTRICTED }))).toEqual([readByOthers, writeByNobodyElse]);
  });
});

test('AWS Solutions checks pass with all of these settings', () => {
  const { app: checked } = app({ ...SHARED, ...RESTRICTED });
  Validations.of(checked).addPlugins(new AwsSolutionsChecks(checked));
  expect(() => checked.synth()).not.toThrow();
});
