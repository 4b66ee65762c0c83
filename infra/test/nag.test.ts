import { Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { expect, test } from 'vitest';
import { app } from './synthesise.ts';

/** Synthesis fails on a finding that isn't acknowledged where it arises, with its reason. */
test('the default settings pass AWS Solutions checks', () => {
  const { app: checked } = app();
  Validations.of(checked).addPlugins(new AwsSolutionsChecks(checked));
  expect(() => checked.synth()).not.toThrow();
});

test('active tracing passes them too', () => {
  const { app: checked } = app({ activeTracing: true });
  Validations.of(checked).addPlugins(new AwsSolutionsChecks(checked));
  expect(() => checked.synth()).not.toThrow();
});

test('the checks would find what is wrong', () => {
  const { app: open } = app({ authorization: 'none' });
  Validations.of(open).addPlugins(new AwsSolutionsChecks(open));
  expect(() => open.synth()).toThrow(/APIG4/);
});
