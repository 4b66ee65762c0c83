/**
 * The reconciler's gauges, and the alarms on them, which don't depend on traffic.
 *
 * The reconciler measures a gauge in each run, also if it is zero. The value doesn't return to zero before the
 * problem is resolved, so neither does the alarm to OK.
 */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import { MAX_ITERATOR_AGE } from './mapping.ts';
import type { RustFunction } from './rust-function.ts';

/**
 * How long an event may be unpublished: as long as the iterator age of a reader may be. Delays that are
 * normal for minutes, such as publishing the rest of a parked aggregate, have ended by then.
 */
const MAX_UNPUBLISHED = MAX_ITERATOR_AGE;

/** How long the rest of a parked aggregate may take: some runs of the reconciler. */
const PARKING_PATIENCE = Duration.minutes(30);

/** The gauges. Other functions have metrics with the same names, which describe one batch. */
export type Gauge =
  | 'AggregatesBlocked'
  | 'AggregatesParked'
  | 'AggregatesLagging'
  | 'ViewsStale'
  | 'BatchesOpen'
  | 'MappingsUnhealthy'
  | 'OldestUnpublished';

export interface GaugesProps {
  /** The registry that gets the alarm on each gauge. */
  readonly alarms: MillraceAlarms;
  /** The function that measures the gauges. */
  readonly reconciler: RustFunction;
  /** The longest time between two reports of a reconciler that works, in whole minutes. */
  readonly reportsWithin: Duration;
}

interface GaugeAlarmProps {
  /** The lowest value that is a problem: a number of aggregates, views, batches or mappings, or milliseconds. */
  readonly threshold: number;
  /** The meaning of the alarm, in one sentence. */
  readonly means: string;
  /**
   * How long the level may last before it is a problem.
   * @default - no time
   */
  readonly patience?: Duration;
}

export class Gauges extends Construct {
  private readonly props: GaugesProps;

  constructor(scope: Construct, id: string, props: GaugesProps) {
    super(scope, id);
    this.props = props;

    this.alarm('AggregatesBlocked', {
      threshold: 1,
      means: 'Publication of at least one aggregate is suspended.',
    });
    this.alarm('AggregatesParked', {
      threshold: 1,
      patience: PARKING_PATIENCE,
      means:
        'For at least half an hour, one or more aggregates have had more pending events than one invocation publishes.',
    });
    this.alarm('AggregatesLagging', {
      threshold: 1,
      means: 'At least one aggregate has events that are not published, and is neither blocked nor parked.',
    });
    this.alarm('ViewsStale', {
      threshold: 1,
      means: 'At least one view lacks events that are published.',
    });
    this.alarm('BatchesOpen', {
      threshold: 1,
      means: 'At least one discarded batch is not repaired.',
    });
    this.alarm('MappingsUnhealthy', {
      threshold: 1,
      means: 'At least one event source mapping is missing, not enabled, or fails again and again.',
    });
    this.alarm('OldestUnpublished', {
      threshold: MAX_UNPUBLISHED.toMilliseconds(),
      means: 'An event was committed more than an hour ago and is not published.',
    });
  }

  /** The maximum of a gauge in a period. */
  metric(gauge: Gauge): cloudwatch.Metric {
    return this.props.reconciler.metric(gauge, 'Maximum');
  }

  /**
   * Adds the alarm on a gauge. Missing data is breaching: a reconciler that doesn't run, or could not read the
   * gauge's source, must not look like a system without problems.
   *
   * Each period is long enough to contain a report. CloudWatch also evaluates earlier periods, for data
   * that arrives late.
   * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
   */
  private alarm(gauge: Gauge, { patience = Duration.minutes(0), threshold, means }: GaugeAlarmProps): void {
    const { alarms, reportsWithin } = this.props;
    alarms.add(this, gauge, {
      metric: this.metric(gauge).with({ period: reportsWithin }),
      threshold,
      means,
      periods: Math.max(1, Math.ceil(patience.toMinutes() / reportsWithin.toMinutes())),
      missingData: cloudwatch.TreatMissingData.BREACHING,
    });
  }
}
