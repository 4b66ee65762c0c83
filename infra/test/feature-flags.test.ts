/** The constructs don't depend on CDK's feature flags, because another app has flags of its own, or none. */
import { expect, test } from 'vitest';
import { accounts } from '../domain/accounts.ts';
import { template } from './synthesise.ts';

/**
 * The resources without the statements of their IAM policies. The flag `@aws-cdk/aws-iam:minimizePolicies` merges
 * statements, which doesn't change what a policy allows.
 */
function resources(...settings: Parameters<typeof template>): object {
  const { Resources } = template(...settings).toJSON() as {
    Resources: Record<string, { Type: string; Properties?: { PolicyDocument?: object; Policies?: object } }>;
  };
  for (const { Type, Properties } of Object.values(Resources)) {
    if (Type === 'AWS::IAM::Policy') delete Properties?.PolicyDocument;
    if (Type === 'AWS::IAM::Role') delete Properties?.Policies;
  }
  return Resources;
}

test.each(['aws', 'local'])('without feature flags, the stage %s has the same resources', (stage) => {
  expect(resources({ stage }, accounts, {})).toEqual(resources({ stage }));
});
