#!/usr/bin/env node
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { generate } from './generate.ts';
import { readSchemas, SchemaError } from './schemas.ts';

const USAGE = `Usage: millrace-consumer-types SCHEMAS_FOLDER [--out FILE]

Writes a TypeScript module with the types and the readers of a domain's events.

SCHEMAS_FOLDER   the folder contracts/schemas of the domain: envelope.json and TYPE.VERSION.json
--out FILE       where to write the module; without it, to the standard output`;

/** The exit code for bad arguments and bad input. */
const BAD_INPUT = 2;

class UsageError extends Error {}

function main(): void {
  const { folder, out, isHelp } = readArguments();
  if (isHelp) {
    console.log(USAGE);
    return;
  }
  const module = generate(readSchemas(folder));
  if (out === undefined) process.stdout.write(module);
  else write(out, module);
}

function readArguments(): { folder: string; out: string | undefined; isHelp: boolean } {
  const options = { out: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const;
  try {
    const { positionals, values } = parseArgs({ options, allowPositionals: true });
    const [folder, ...rest] = positionals;
    if (!values.help && (folder === undefined || rest.length > 0)) {
      throw new UsageError('Name one folder of schemas');
    }
    return { folder: folder ?? '', out: values.out, isHelp: values.help === true };
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function write(file: string, module: string): void {
  try {
    writeFileSync(file, module);
  } catch (error) {
    throw new SchemaError(`${file}: the file can't be written (${(error as NodeJS.ErrnoException).code})`);
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof SchemaError) && !(error instanceof UsageError)) throw error;
  console.error(`millrace-consumer-types: ${error.message}`);
  if (error instanceof UsageError) console.error(`\n${USAGE}`);
  process.exitCode = BAD_INPUT;
}
