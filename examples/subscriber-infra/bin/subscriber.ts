/**
 * The app of the low-balance notifier. Its settings are CDK context:
 *
 *     npx cdk deploy -c subscriber=python -c code=../subscriber-python/build -c streamArn=ARN -c retentionHours=168
 *
 * README.md lists the settings.
 */
import { App } from 'aws-cdk-lib';
import { LowBalanceNotifier } from '../lib/low-balance-notifier.ts';
import { readSettings, SettingError } from '../lib/settings.ts';

try {
  const app = new App();
  const settings = readSettings((name) => app.node.tryGetContext(name));
  new LowBalanceNotifier(app, `LowBalanceNotifier-${settings.subscriber}`, { settings });
} catch (error) {
  // The message is for the person who set the value. A stack trace would hide it.
  if (!(error instanceof SettingError)) throw error;
  console.error(`\n${error.message}\n`);
  process.exitCode = 1;
}
