/**
 * The app's entry: the one place where settings are read, and where the domain is chosen.
 *
 *     npx cdk deploy                                            # AWS, every default
 *     npx cdk deploy -c removalPolicy=destroy -c logRetentionDays=7
 *
 * `stage=local` is for the local stack, which `millrace up` deploys: it is refused unless
 * AWS_ENDPOINT_URL is a loopback address.
 *
 * Each setting is described in ../lib/settings.ts, the domain's own in ../domain/accounts.ts.
 */
import { App } from 'aws-cdk-lib';
import { accounts } from '../domain/accounts.ts';
import { MillraceStack } from '../lib/millrace-stack.ts';
import { type Lookup, readSettings, SettingError } from '../lib/settings.ts';

try {
  const app = new App();
  const lookup: Lookup = (name) => app.node.tryGetContext(name);
  new MillraceStack(app, 'Millrace', { settings: readSettings(lookup, process.env), domain: accounts(lookup) });
} catch (error) {
  // The sentence is for whoever typed the setting; a stack trace would bury it.
  if (!(error instanceof SettingError)) throw error;
  console.error(`\n${error.message}\n`);
  process.exitCode = 1;
}
