/**
 * The domain's queries of the lake, as named queries of Athena: one for each SQL file of a folder.
 *
 * The first line of a file is a comment, the query's description. A parameter is a question mark, followed by its name
 * in a comment of its own.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as athena from 'aws-cdk-lib/aws-athena';
import { Construct } from 'constructs';
import type { LakeCatalog } from './lake-catalog.ts';

/** A query of the lake. */
export interface NamedQuery {
  /** The file's name without `.sql`. */
  readonly name: string;
  /** The file's first comment line. */
  readonly description: string;
  /** The file's text. */
  readonly text: string;
}

/**
 * The most bytes that Athena accepts.
 * https://docs.aws.amazon.com/athena/latest/APIReference/API_CreateNamedQuery.html
 */
const LIMITS = { name: 128, description: 1024, text: 262_144 } as const;

/** Reads the `*.sql` files of a folder, in the order of their names. */
export function readQueries(folder: string): readonly NamedQuery[] {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Error(
      `The domain's "queries" is ${JSON.stringify(folder)}, but there is no such folder. ` +
        'Create it, with a *.sql file for each named query of Athena, or leave "queries" out.',
    );
  }
  const files = readdirSync(folder).filter((file) => file.endsWith('.sql'));
  return files.sort().map((file) => readQuery(folder, file));
}

function readQuery(folder: string, file: string): NamedQuery {
  const text = readFileSync(join(folder, file), 'utf8');
  const query = {
    name: file.replace(/\.sql$/, ''),
    description: /^--(.*)/.exec(text)?.[1]?.trim() ?? '',
    text,
  };
  const refuse = (problem: string) => new Error(`${join(folder, file)}: ${problem}`);
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(query.name)) {
    throw refuse('the name must be words of small letters and digits, with hyphens between them');
  }
  if (query.description === '') throw refuse('the first line must be a comment, "-- ...", that describes the query');
  for (const part of ['name', 'description', 'text'] as const) {
    const bytes = Buffer.byteLength(query[part]);
    if (bytes > LIMITS[part]) throw refuse(`the ${part} has ${bytes} bytes, but Athena accepts ${LIMITS[part]}`);
  }
  return query;
}

export interface NamedQueriesProps {
  /** The queries, with different names. */
  readonly queries: readonly NamedQuery[];
  /** The catalogue, whose database the queries use. */
  readonly catalog: LakeCatalog;
  /** The work group that lists the queries. */
  readonly workGroup: athena.CfnWorkGroup;
}

/** A changed query replaces the named query: it gets another id. Its name stays. */
export class NamedQueries extends Construct {
  constructor(scope: Construct, id: string, { queries, catalog, workGroup }: NamedQueriesProps) {
    super(scope, id);
    for (const { name, description, text } of queries) {
      const query = new athena.CfnNamedQuery(this, name, {
        name,
        description,
        queryString: text,
        database: catalog.databaseName,
        workGroup: workGroup.name,
      });
      query.addResourceDependency(catalog.database);
      query.addResourceDependency(workGroup);
    }
  }
}
