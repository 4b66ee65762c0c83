/** Synthesises the app for tests: with functions that are no programs. */
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { accounts } from '../domain/accounts.ts';
import type { Domain } from '../lib/domain.ts';
import { MillraceStack } from '../lib/millrace-stack.ts';
import { FUNCTION_NAMES } from '../lib/names.ts';
import { type Lookup, readSettings } from '../lib/settings.ts';

/** The feature flags of cdk.json. */
export const FLAGS = (JSON.parse(readFileSync(join(import.meta.dirname, '../cdk.json'), 'utf8')) as { context: object })
  .context;

/** The environment of a deployment to an emulator. */
export const EMULATOR = { AWS_ENDPOINT_URL: 'http://127.0.0.1:4566' };

/** Creates a folder of bootstraps. Their content has no effect on the synthesis. */
export function fakeArtifacts(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-artifacts-'));
  for (const name of FUNCTION_NAMES) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'bootstrap'), name);
  }
  return folder;
}

/**
 * The app with these settings, given as on the command line, with the accounts or another domain, and with the
 * feature flags of cdk.json or others.
 */
export function app(
  settings: Record<string, unknown> = {},
  domain: (lookup: Lookup) => Domain = accounts,
  flags: object = FLAGS,
): { app: App; stack: MillraceStack } {
  const app = new App({ context: { ...flags, artifacts: fakeArtifacts(), ...settings } });
  const lookup: Lookup = (name) => app.node.tryGetContext(name);
  const stack = new MillraceStack(app, 'Millrace', {
    settings: readSettings(lookup, EMULATOR),
    domain: domain(lookup),
  });
  return { app, stack };
}

/** The template of the app with these settings. */
export function template(...settings: Parameters<typeof app>): Template {
  return Template.fromStack(app(...settings).stack);
}
