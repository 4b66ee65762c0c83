/** The alarms on what the libraries for consumers report only in the log. */
import { Names } from 'aws-cdk-lib';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';

/** The namespace of the metrics. The function's other metrics are Lambda's. */
const NAMESPACE = 'MillraceSubscribers';

/** What the libraries for Python, Node.js and Rust log if they skip events of an aggregate. */
const GAPS = [
  'skipping the events of an aggregate',
  'Events are skipped',
  'events of an aggregate are skipped',
] as const;

/** What they log about a record that contains no event: Python and Node.js the first phrase, Rust the second one. */
const UNDECODABLE = ['is undecodable', 'a record contains no event'] as const;

export interface LogAlarmsProps {
  /** What follows "the" in the descriptions: `subscriber Orders/Notifier`. */
  readonly name: string;
  /** The log group of the function. */
  readonly logGroup: logs.ILogGroup;
  /** The registry that gets the alarms. */
  readonly alarms: MillraceAlarms;
}

/** Adds the alarms `Gaps` and `Undecodable`, and a metric filter for each, to `scope`. */
export function addLogAlarms(scope: Construct, { name, logGroup, alarms }: LogAlarmsProps): void {
  const count = (id: string, messages: readonly string[]) =>
    new logs.MetricFilter(scope, `${id}Filter`, {
      logGroup,
      // The phrases are searched in the text of each log event, also if it is JSON. The case has to be the same.
      // https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
      filterPattern: logs.FilterPattern.anyTerm(...messages),
      metricNamespace: NAMESPACE,
      // A dimension can contain only a field of the log, so the name distinguishes the subscribers.
      metricName: `${Names.uniqueResourceName(scope, { maxLength: 200, separator: '-' })}-${id}`,
    }).metric({ statistic: 'Sum' });

  alarms.add(scope, 'Gaps', {
    metric: count('Gaps', GAPS),
    threshold: 1,
    means: `The ${name} skips events of an aggregate, because earlier ones are missing or the version is unknown.`,
  });
  alarms.add(scope, 'Undecodable', {
    metric: count('Undecodable', UNDECODABLE),
    threshold: 1,
    means: `The ${name} has received records that contain no event that it can read.`,
  });
}
