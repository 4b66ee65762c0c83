/**
 * The formats in which the lake can store events, each with its folder and its classes for Hive.
 *
 * A Glue table reads one format. Each format therefore has a folder of its own: after a change of the setting,
 * the table reads the new folder, and never an object that it can't read. The old folder keeps its objects.
 */

/** The formats that the setting `lakeFormat` allows. */
export const LAKE_FORMATS = ['parquet', 'json'] as const;

export type LakeFormat = (typeof LAKE_FORMATS)[number];

interface FormatTraits {
  /** The folder of the lake's bucket, with a slash at its end. */
  readonly folder: string;
  /** The class with which Athena reads an object. */
  readonly inputFormat: string;
  /** The class with which Athena would write an object. */
  readonly outputFormat: string;
  /** The class that makes a row of what was read. */
  readonly serde: string;
  /**
   * How many MiB Firehose gathers before it writes an object: a limit from 1 to 128, and at least 64 with a
   * conversion of the format.
   * https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html
   * https://docs.aws.amazon.com/firehose/latest/dev/enable-record-format-conversion.html
   */
  readonly bufferMB: number;
}

export const FORMATS: Readonly<Record<LakeFormat, FormatTraits>> = {
  // Firehose converts the lines. Columns that a query doesn't name are not read and not paid for.
  // https://docs.aws.amazon.com/athena/latest/ug/parquet-serde.html
  parquet: {
    folder: 'events-parquet/',
    inputFormat: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat',
    outputFormat: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat',
    serde: 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe',
    // Firehose counts the bytes of the lines. Their objects are smaller in Parquet, and small objects make Athena
    // slow.
    bufferMB: 128,
  },
  // A line that isn't JSON makes the query fail. The OpenX SerDe reads JSON too, but Athena documents that its
  // results can be non-deterministic, and recommends this SerDe instead.
  // https://docs.aws.amazon.com/athena/latest/ug/hive-json-serde.html
  // https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
  json: {
    folder: 'events/',
    inputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
    outputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
    serde: 'org.apache.hive.hcatalog.data.JsonSerDe',
    bufferMB: 64,
  },
};
