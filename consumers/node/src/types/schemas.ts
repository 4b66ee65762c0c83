import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A JSON Schema, as far as the generator reads it. */
export type Schema = Readonly<Record<string, unknown>>;

/** A schema can't be used. The message names the file. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
}

/** One version of an event type. */
export interface EventSchema {
  readonly file: string;
  readonly type: string;
  readonly version: number;
  readonly schema: Schema;
}

/** The schemas of a domain. */
export interface Domain {
  /** The `source` of the envelopes. */
  readonly source: string;
  /** Sorted by type and version. There is at least one. */
  readonly events: readonly EventSchema[];
}

const ENVELOPE = 'envelope.json';
const SCHEMA_ID = /^urn:millrace:schema:(.+):([1-9][0-9]*)$/;

/**
 * Reads a folder of schemas that `millrace contract` has written: `envelope.json` and one file per version of an event
 * type. Files of another kind than JSON are ignored.
 *
 * @throws {@link SchemaError} if the folder or a file can't be used.
 */
export function readSchemas(folder: string): Domain {
  const files = listFolder(folder).filter((file) => file.endsWith('.json'));
  const names = files.filter((file) => file !== ENVELOPE).sort();
  if (names.length === 0) throw new SchemaError(`${folder}: the folder has no schemas of events (TYPE.VERSION.json)`);
  if (!files.includes(ENVELOPE)) throw new SchemaError(`${folder}: the folder has no ${ENVELOPE}`);

  const source = readSource(join(folder, ENVELOPE));
  const events = names.map((name) => readEvent(join(folder, name)));
  const known = new Map<string, string>();
  for (const { file, type, version } of events) {
    const name = `${type}:${version}`;
    const other = known.get(name);
    if (other !== undefined) throw new SchemaError(`${file}: ${other} has the same $id`);
    known.set(name, file);
  }
  events.sort((a, b) => (a.type < b.type ? -1 : a.type > b.type ? 1 : a.version - b.version));
  return { source, events };
}

/** Whether a value is a JSON object. */
export function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    throw new SchemaError(`${folder}: the folder can't be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

function readSource(file: string): string {
  const { properties } = readFile(file);
  const source = isSchema(properties) && isSchema(properties.source) ? properties.source.const : undefined;
  if (typeof source !== 'string')
    throw new SchemaError(`${file}: no schema of an envelope: properties.source has no const`);
  return source;
}

function readEvent(file: string): EventSchema {
  const schema = readFile(file);
  const [, type, version] = (typeof schema.$id === 'string' && SCHEMA_ID.exec(schema.$id)) || [];
  if (type === undefined || !Number.isSafeInteger(Number(version))) {
    throw new SchemaError(`${file}: no schema of an event: its $id is not urn:millrace:schema:TYPE:VERSION`);
  }
  if (schema.type !== 'object' || !isSchema(schema.properties)) {
    throw new SchemaError(`${file}: no schema of an event: it describes no object with properties`);
  }
  return { file, type, version: Number(version), schema };
}

function readFile(file: string): Schema {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new SchemaError(`${file}: the file can't be read (${(error as NodeJS.ErrnoException).code})`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SchemaError(`${file}: no schema: it isn't JSON`);
  }
  if (!isSchema(value)) throw new SchemaError(`${file}: no schema: it is no JSON object`);
  return value;
}
