/**
 * The lake's catalogue for Athena: the `events` table over the lake records, and the `domain_events` view,
 * which contains each event once.
 */
import { Names, Stack } from 'aws-cdk-lib';
import * as glue from 'aws-cdk-lib/aws-glue';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { Domain, LakeColumn, LakeColumns } from './domain.ts';
import { FORMATS } from './lake-format.ts';
import type { Settings } from './settings.ts';

/** The SQL types of a view, by the Hive types of the Glue table. */
const PRESTO: Readonly<Record<string, string>> = { string: 'varchar', bigint: 'bigint', boolean: 'boolean' };

/** The SQL type of a column. */
function presto({ type, fields }: LakeColumn): string {
  if (fields) return type.startsWith('array<') ? `array(${row(fields)})` : row(fields);
  const found = PRESTO[type];
  if (!found) throw new Error(`contracts/lake.json: the view has no type for ${type}`);
  return found;
}

/** The SQL type of an object. */
function row(fields: readonly LakeColumn[]): string {
  return `row(${fields.map((field) => `${field.name.toLowerCase()} ${presto(field)}`).join(', ')})`;
}

/** The column of records that are no events, which the view doesn't contain. */
const UNREADABLE = 'data_base64';

export interface LakeCatalogProps {
  /** The stack's settings. They decide the format of the table. */
  readonly settings: Settings;
  /** The domain, which has the columns. */
  readonly domain: Domain;
  /** The bucket with the lake records, below the folder of the format. */
  readonly bucket: s3.IBucket;
}

export class LakeCatalog extends Construct {
  /** Derived from the stack's name, with the characters that SQL accepts without quotes. */
  readonly databaseName: string;
  readonly tableName = 'events';
  readonly viewName = 'domain_events';
  readonly database: glue.CfnDatabase;
  readonly table: glue.CfnTable;

  constructor(scope: Construct, id: string, { settings, domain, bucket }: LakeCatalogProps) {
    super(scope, id);
    const catalogId = Stack.of(this).account;
    const format = FORMATS[settings.lakeFormat];
    const location = bucket.s3UrlForObject(format.folder);
    this.databaseName = Names.uniqueResourceName(this, { maxLength: 100, separator: '_' }).toLowerCase();
    this.database = new glue.CfnDatabase(this, 'Database', {
      catalogId,
      databaseInput: { name: this.databaseName, description: 'The lake of domain events' },
    });

    this.table = new glue.CfnTable(this, 'Events', {
      catalogId,
      databaseName: this.databaseName,
      tableInput: {
        name: this.tableName,
        description: 'Domain events as delivered; an event may be there twice, with the same id',
        tableType: 'EXTERNAL_TABLE',
        partitionKeys: domain.lake.partitions.map((column) => ({ ...column, comment: 'Day of delivery, UTC' })),
        parameters: {
          classification: settings.lakeFormat,
          // Partition projection computes the partitions, so they needn't be added every day.
          // https://docs.aws.amazon.com/athena/latest/ug/partition-projection.html
          'projection.enabled': 'true',
          'projection.dt.type': 'date',
          'projection.dt.format': 'yyyy-MM-dd',
          'projection.dt.interval': '1',
          'projection.dt.interval.unit': 'DAYS',
          // dt is the day of delivery, so no partition is older than the project.
          'projection.dt.range': '2026-01-01,NOW',
          'storage.location.template': `${location}dt=\${dt}/`,
        },
        storageDescriptor: {
          location,
          inputFormat: format.inputFormat,
          outputFormat: format.outputFormat,
          serdeInfo: { serializationLibrary: format.serde },
          columns: domain.lake.columns.map(({ name, type }) =>
            name === UNREADABLE
              ? { name, type, comment: 'Of an UnreadableRecord: the bytes that were on the stream' }
              : { name, type },
          ),
        },
      },
    });
    this.table.addResourceDependency(this.database);

    this.domainEvents(catalogId, domain.lake);
  }

  /**
   * The ARNs that a policy needs to allow an action on tables of the database: also the catalogue's and the
   * database's.
   * https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html
   */
  arns(...tables: string[]): string[] {
    const arn = (resource: string, resourceName?: string) =>
      Stack.of(this).formatArn({ service: 'glue', resource, ...(resourceName && { resourceName }) });
    return [
      arn('catalog'),
      arn('database', this.databaseName),
      ...tables.map((table) => arn('table', `${this.databaseName}/${table}`)),
    ];
  }

  /**
   * Creates the view with each event once, and without records that are no events.
   *
   * Duplicates are byte-identical on the stream, so only the day of delivery can differ; the view contains the
   * earliest. A query over a few days is cheaper on `events`: the view must read every day to find the earliest
   * record.
   */
  private domainEvents(catalogId: string, lake: LakeColumns): void {
    const hive = [...lake.columns.filter(({ name }) => name !== UNREADABLE), ...lake.partitions];
    const columns = hive.map((column) => ({
      name: column.name,
      type: column.name === 'data' ? row(lake.data) : presto(column),
    }));
    const names = columns.map(({ name }) => `"${name}"`).join(', ');
    const originalSql =
      `SELECT ${names} FROM (` +
      `SELECT ${names}, ROW_NUMBER() OVER (PARTITION BY "id" ORDER BY "dt") AS "nth" ` +
      `FROM "${this.databaseName}"."${this.tableName}" ` +
      `WHERE "type" IS DISTINCT FROM 'UnreadableRecord') WHERE "nth" = 1`;
    // Athena stores a view as a Glue table whose text is this comment.
    const definition = { originalSql, catalog: 'awsdatacatalog', schema: this.databaseName, columns };
    const view = new glue.CfnTable(this, 'DomainEvents', {
      catalogId,
      databaseName: this.databaseName,
      tableInput: {
        name: this.viewName,
        description: 'Each domain event once',
        tableType: 'VIRTUAL_VIEW',
        parameters: { presto_view: 'true', comment: 'Presto View' },
        viewOriginalText: `/* Presto View: ${Buffer.from(JSON.stringify(definition)).toString('base64')} */`,
        viewExpandedText: '/* Presto View */',
        storageDescriptor: {
          location: '',
          serdeInfo: {},
          columns: hive,
        },
      },
    });
    view.addResourceDependency(this.table);
  }
}
