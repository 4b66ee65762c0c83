/** The documentation shows a stack that compiles and can be synthesised. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { sample } from './subscriber-sample.ts';

test.each(['../README.md', '../../docs/subscribing.md'])('%s shows the sample', (page) => {
  const source = readFileSync(join(import.meta.dirname, 'subscriber-sample.ts'), 'utf8');
  const [, lines] = /begin here\.\n(.*?)\n *\/\/ The shown lines end/s.exec(source)!;
  const [imported] = /^import .* from 'millrace-infra';$/m.exec(source)!;
  const shown = [imported, '', ...lines!.split('\n').map((line) => line.replace(/^ {6}/, ''))].join('\n');
  expect(readFileSync(join(import.meta.dirname, page), 'utf8')).toContain(`\`\`\`ts\n${shown}\n\`\`\``);
});

test('the sample has a mapping, and its alarms have an action', () => {
  const template = Template.fromStack(sample(import.meta.dirname));
  template.resourceCountIs('AWS::Lambda::EventSourceMapping', 1);
  template.resourceCountIs('AWS::CloudWatch::Alarm', 5);
  for (const { Properties } of Object.values(template.findResources('AWS::CloudWatch::Alarm'))) {
    expect(Properties.AlarmActions).toHaveLength(1);
  }
});
