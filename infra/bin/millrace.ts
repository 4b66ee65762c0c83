/**
 * The app of the bank account.
 *
 *     npx cdk deploy                                            # AWS, every default
 *     npx cdk deploy -c removalPolicy=destroy -c logRetentionDays=7
 *
 * `stage=local` is for the local stack, which `millrace up` deploys: it is refused unless
 * AWS_ENDPOINT_URL is a loopback address.
 *
 * Each setting is described in ../lib/settings.ts, the domain's own in ../domain/accounts.ts.
 */
import { accounts } from '../domain/accounts.ts';
import { makeApp } from '../lib/app.ts';

makeApp(accounts);
