/** The alarms on the invocations of a function, which every function has. */
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';

/** A function, with the name that alarms call it. */
export interface NamedFunction {
  /** What follows "the" in the description of an alarm: `projector`. */
  readonly name: string;
  /**
   * What the headings of its alarms' sections in the runbook begin with.
   * @default - the name
   */
  readonly section?: string;
  /** The function. */
  readonly handler: lambda.IFunction;
}

/** The heading of the section about an alarm on a function. */
export function sectionOf({ name, section = name }: NamedFunction, alarm: string): string {
  return `${section}${alarm}`;
}

/** Adds the alarms on failed and throttled invocations to `scope`. */
export function addInvocationAlarms(scope: Construct, function_: NamedFunction, alarms: MillraceAlarms): void {
  const { name, handler } = function_;
  alarms.add(scope, 'Errors', {
    section: sectionOf(function_, 'Errors'),
    metric: handler.metricErrors(),
    threshold: 1,
    means: `Invocations of the ${name} fail because of a crash, a timeout or a missing permission.`,
  });
  alarms.add(scope, 'Throttles', {
    section: sectionOf(function_, 'Throttles'),
    metric: handler.metricThrottles(),
    threshold: 1,
    periods: 3,
    means: `Lambda throttles invocations of the ${name}.`,
  });
}
