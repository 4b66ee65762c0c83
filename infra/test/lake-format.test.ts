/** The two formats of the lake: what the delivery stream writes is what the table reads. */
import { Match, type Template } from 'aws-cdk-lib/assertions';
import { beforeAll, describe, expect, test } from 'vitest';
import { template } from './synthesise.ts';

let parquet: Template;
let json: Template;
let localJson: Template;
let localParquet: Template;
beforeAll(() => {
  parquet = template();
  json = template({ lakeFormat: 'json' });
  localJson = template({ stage: 'local' });
  localParquet = template({ stage: 'local', lakeFormat: 'parquet' });
});

const only = (of: Template, type: string, part = (_: any) => true) => {
  const found = Object.values(of.findResources(type)).filter(part) as { Properties: Record<string, any> }[];
  expect(found).toHaveLength(1);
  return found[0]!.Properties;
};
const destination = (of: Template) =>
  only(of, 'AWS::KinesisFirehose::DeliveryStream').ExtendedS3DestinationConfiguration;
const tableInput = (of: Template) =>
  only(of, 'AWS::Glue::Table', ({ Properties }) => Properties.TableInput.TableType === 'EXTERNAL_TABLE').TableInput;
const role = (of: Template) =>
  only(of, 'AWS::IAM::Role', ({ Properties }) => Properties.Description === 'Allows Firehose to write the lake')
    .Policies[0].PolicyDocument.Statement as any[];
/** The logical id of the table. */
const eventsTable = (of: Template) =>
  Object.keys(of.findResources('AWS::Glue::Table', { Properties: { TableInput: { Name: 'events' } } }));
/** A text with a reference in its middle. */
const joined = (value: any): string =>
  value['Fn::Join'][1].map((part: any) => (typeof part === 'string' ? part : '_')).join('');

describe.each([
  ['parquet on aws', () => parquet, 'events-parquet/', 'parquet'],
  ['json on aws', () => json, 'events/', 'json'],
  ['json on local', () => localJson, 'events/', 'json'],
  ['parquet on local', () => localParquet, 'events-parquet/', 'parquet'],
])('%s', (_, of, folder, classification) => {
  test('the table reads the folder that Firehose writes, and no other', () => {
    expect(destination(of()).Prefix).toBe(`${folder}dt=!{timestamp:yyyy-MM-dd}/`);
    const { Parameters, StorageDescriptor, Name } = tableInput(of());
    expect(Name).toBe('events');
    expect(Parameters.classification).toBe(classification);
    expect(joined(StorageDescriptor.Location)).toBe(`s3://_/${folder}`);
    expect(joined(Parameters['storage.location.template'])).toBe(`s3://_/${folder}dt=\${dt}/`);
    const writes = role(of()).find(({ Action }) => Action.includes('s3:PutObject'));
    expect(writes.Resource.map(joined).sort()).toEqual(['_/errors/*', `_/${folder}*`]);
  });

  test('what Firehose could not convert or deliver is below errors/, by kind', () => {
    expect(destination(of()).ErrorOutputPrefix).toBe(
      'errors/!{firehose:error-output-type}/dt=!{timestamp:yyyy-MM-dd}/',
    );
  });
});

test('Parquet is converted from lines by the columns of the table, and not compressed again', () => {
  for (const of of [parquet, localParquet]) {
    const [table] = eventsTable(of);
    const { StorageDescriptor } = tableInput(of);
    expect(StorageDescriptor).toMatchObject({
      InputFormat: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat',
      OutputFormat: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat',
      SerdeInfo: { SerializationLibrary: 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe' },
    });
    const { CompressionFormat, BufferingHints, DataFormatConversionConfiguration, RoleARN } = destination(of);
    expect(CompressionFormat).toBe('UNCOMPRESSED');
    expect(BufferingHints.SizeInMBs).toBeGreaterThanOrEqual(64);
    expect(DataFormatConversionConfiguration).toMatchObject({
      Enabled: true,
      SchemaConfiguration: { TableName: { Ref: table }, VersionId: 'LATEST', RoleARN },
      InputFormatConfiguration: { Deserializer: { OpenXJsonSerDe: { CaseInsensitive: true } } },
      OutputFormatConfiguration: { Serializer: { ParquetSerDe: { Compression: 'SNAPPY' } } },
    });
  }
});

test('lines of JSON are written as they are, compressed on AWS, and read with the Hive SerDe', () => {
  for (const [of, compression] of [
    [json, 'GZIP'],
    [localJson, 'UNCOMPRESSED'],
  ] as const) {
    expect(tableInput(of).StorageDescriptor).toMatchObject({
      InputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
      OutputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
      SerdeInfo: { SerializationLibrary: 'org.apache.hive.hcatalog.data.JsonSerDe' },
    });
    const { CompressionFormat, DataFormatConversionConfiguration } = destination(of);
    expect(CompressionFormat).toBe(compression);
    // An update without this keeps the conversion of a previous deployment.
    expect(DataFormatConversionConfiguration).toEqual({ Enabled: false });
  }
});

test('Firehose may read the columns of its own table only, and only to convert', () => {
  const ofGlue = (of: Template) => role(of).filter((it) => JSON.stringify(it.Action).includes('glue:'));
  const [statement, ...others] = ofGlue(parquet);
  expect(others).toEqual([]);
  expect(statement.Action).toEqual(['glue:GetTable', 'glue:GetTableVersion', 'glue:GetTableVersions']);
  const { DatabaseName } = only(
    parquet,
    'AWS::Glue::Table',
    ({ Properties }) => Properties.TableInput.Name === 'events',
  );
  expect(statement.Resource.map((arn: any) => joined(arn).replace(/^.*:/, ''))).toEqual([
    'catalog',
    `database/${DatabaseName}`,
    `table/${DatabaseName}/events`,
  ]);
  expect(ofGlue(json)).toEqual([]);
});

test('failed conversions raise an alarm, if there are conversions', () => {
  const [stream] = Object.keys(parquet.findResources('AWS::KinesisFirehose::DeliveryStream'));
  const failures = (of: Template) =>
    Object.values(of.findResources('AWS::CloudWatch::Alarm')).filter(
      ({ Properties }) => Properties.MetricName === 'FailedConversion.Records',
    );
  expect(failures(parquet).map(({ Properties }) => Properties)).toEqual([
    expect.objectContaining({
      Namespace: 'AWS/Firehose',
      Dimensions: [{ Name: 'DeliveryStreamName', Value: { Ref: stream } }],
      Statistic: 'Sum',
      Threshold: 1,
      EvaluationPeriods: 1,
      AlarmDescription: expect.stringContaining('#conversionfails'),
    }),
  ]);
  expect(failures(json)).toEqual([]);
});

test('the table gets a new column before a function publishes the new member', () => {
  const [table] = eventsTable(parquet);
  for (const description of ['Turns rows', 'Finds what']) {
    parquet.hasResource('AWS::Lambda::Function', {
      Properties: { Description: Match.stringLikeRegexp(`^${description}`) },
      DependsOn: Match.arrayWith([table]),
    });
  }
});
