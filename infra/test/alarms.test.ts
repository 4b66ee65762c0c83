/** The registry of alarms, and which construct each alarm of the stack is in. */
import { Duration, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import { MillraceAlarms } from '../lib/alarms.ts';
import { app } from './synthesise.ts';

const metric = new Metric({ namespace: 'Test', metricName: 'Level', period: Duration.minutes(1) });
const arn = (name: string) => `arn:aws:sns:eu-north-1:123456789012:${name}`;

/** The properties of the alarms of a stack, by logical id without its hash. */
function alarmsOf(stack: Stack): Record<string, any> {
  const found = Object.entries(Template.fromStack(stack).findResources('AWS::CloudWatch::Alarm'));
  return Object.fromEntries(found.map(([id, { Properties }]) => [id.replace(/[0-9A-F]{8}$/, ''), Properties]));
}

test('an alarm is in the construct that owns its resource', () => {
  const { stack } = app();
  const owned: Record<string, string[]> = {};
  for (const { node } of stack.alarms.all) {
    const owner = node.scope!.node.path.replace('Millrace/', '');
    owned[owner] = [...(owned[owner] ?? []), node.id].sort();
  }
  const reader = ['DestinationFails', 'Discarded', 'Errors', 'IteratorAge', 'Throttles'];
  expect(owned).toEqual({
    HttpApi: ['ApiFails'],
    'Commands/Writer': ['Errors', 'Throttles'],
    'DomainStream/Translator': reader,
    'Projection/Projector': reader,
    'Queries/Reader': ['Errors', 'Throttles'],
    Lake: ['ArchiveFails', 'ConversionFails', 'LakeIsOld'],
    'Lake/Archiver': reader,
    'Reconciler/Reconciler': ['Errors', 'Throttles'],
    'Reconciler/Gauges': [
      'AggregatesBlocked',
      'AggregatesLagging',
      'AggregatesParked',
      'BatchesOpen',
      'MappingsUnhealthy',
      'OldestUnpublished',
      'ViewsStale',
    ],
  });
});

test('the registry contains every alarm of the stack', () => {
  const { stack } = app();
  expect(stack.alarms.all).toHaveLength(Object.keys(alarmsOf(stack)).length);
});

test('a topic that is given after the stack was created gets every alarm', () => {
  const { stack } = app({ alarmTopic: arn('first') });
  stack.alarms.notify(Topic.fromTopicArn(stack, 'Second', arn('second')));
  const topics = [arn('first'), arn('second')];
  for (const alarm of Object.values(alarmsOf(stack))) {
    expect(alarm).toMatchObject({ AlarmActions: topics, OKActions: topics });
  }
});

describe('the registry', () => {
  test('lets alarms notify a topic, whether they are added before it or after it', () => {
    const stack = new Stack();
    const alarms = new MillraceAlarms('runbook.md');
    const add = (id: string) => alarms.add(stack, id, { metric, threshold: 1, means: 'Something is wrong.' });
    add('Before');
    alarms.notify(Topic.fromTopicArn(stack, 'Topic', arn('pager')));
    add('After');
    const found = alarmsOf(stack);
    expect(Object.keys(found).sort()).toEqual(['After', 'Before']);
    for (const alarm of Object.values(found)) {
      expect(alarm).toMatchObject({ AlarmActions: [arn('pager')], OKActions: [arn('pager')] });
    }
  });

  test("links each alarm's section of the runbook", () => {
    const stack = new Stack();
    const alarms = new MillraceAlarms('https://example.org/runbook');
    const options = { metric, threshold: 1, means: 'Something is wrong.' };
    alarms.add(stack, 'LakeIsOld', options);
    alarms.add(stack, 'Errors', { ...options, section: 'WriterErrors' });
    const { LakeIsOld, Errors } = alarmsOf(stack);
    expect(LakeIsOld.AlarmDescription).toBe('Something is wrong. What to do: https://example.org/runbook#lakeisold');
    expect(Errors.AlarmDescription).toMatch(/#writererrors$/);
  });
});
