/** The alarms on the invocations of a function, which every function has. */
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';

/** A function, with the name that alarms call it. */
export interface NamedFunction {
  /** What follows "the" in the description of an alarm: `projector`. A section of the runbook begins with it. */
  readonly name: string;
  /** The function. */
  readonly handler: lambda.IFunction;
}

/** Adds the alarms on failed and throttled invocations to `scope`. */
export function addInvocationAlarms(scope: Construct, { name, handler }: NamedFunction, alarms: MillraceAlarms): void {
  alarms.add(scope, 'Errors', {
    section: `${name}Errors`,
    metric: handler.metricErrors(),
    threshold: 1,
    means: `Invocations of the ${name} fail because of a crash, a timeout or a missing permission.`,
  });
  alarms.add(scope, 'Throttles', {
    section: `${name}Throttles`,
    metric: handler.metricThrottles(),
    threshold: 1,
    periods: 3,
    means: `Lambda throttles invocations of the ${name}.`,
  });
}
