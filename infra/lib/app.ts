/** The entry point of an app. Only this file reads the settings. */
import { App } from 'aws-cdk-lib';
import type { Domain } from './domain.ts';
import { MillraceStack } from './millrace-stack.ts';
import { type Lookup, readSettings, SettingError } from './settings.ts';

/**
 * Creates the stack of a domain, with settings from CDK context. `domain` reads the domain's own settings. An
 * invalid setting ends the process with a message and exit code 1.
 */
export function makeApp(domain: (lookup: Lookup) => Domain): void {
  try {
    const app = new App();
    const lookup: Lookup = (name) => app.node.tryGetContext(name);
    new MillraceStack(app, 'Millrace', { settings: readSettings(lookup, process.env), domain: domain(lookup) });
  } catch (error) {
    // The message is for the person who set the value. A stack trace would hide it.
    if (!(error instanceof SettingError)) throw error;
    console.error(`\n${error.message}\n`);
    process.exitCode = 1;
  }
}
