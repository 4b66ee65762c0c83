/**
 * The alarms of a deployment, each with a section in the runbook, and a dashboard in the order of the
 * pipeline.
 *
 * The functions write their own metrics as log lines in embedded metric format (`runtime/src/metrics.rs`). A
 * test compares the names in this file with the list in that file.
 */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import type { Commands } from './commands.ts';
import type { DomainStream } from './domain-stream.ts';
import type { HttpApi } from './http-api.ts';
import type { Lake } from './lake.ts';
import type { Projection } from './projection.ts';
import type { Queries } from './queries.ts';
import type { Reconciler } from './reconciler.ts';
import type { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

const NAMESPACE = 'Millrace';

/**
 * The maximum age of the records that a reader of a stream processes. DynamoDB's stream deletes records after
 * 24 hours, and the translator's mapping discards a batch after 22, so one hour leaves time for a repair.
 */
const MAX_ITERATOR_AGE = Duration.hours(1);
/**
 * How long an event may be unpublished: as long as the iterator age of a reader may be. Delays that are
 * normal for minutes, such as publishing the rest of a parked aggregate, have ended by then.
 */
const MAX_UNPUBLISHED = MAX_ITERATOR_AGE;
/** How long the rest of a parked aggregate may take: some runs of the reconciler. */
const PARKING_PATIENCE = Duration.minutes(30);
/** The maximum age of events that are not in the lake yet. Firehose buffers them for minutes. */
const MAX_LAKE_AGE = Duration.minutes(30);

export interface ObservabilityProps {
  /** The stack's settings: whom alarms notify, and the address of the runbook. */
  readonly settings: Settings;
  /** The API, for requests, errors and latency. */
  readonly http: HttpApi;
  /** The command side, for the writer. */
  readonly commands: Commands;
  /** The domain stream, for the translator and its mapping. */
  readonly domainStream: DomainStream;
  /** The read models, for the projector and its mapping. */
  readonly projection: Projection;
  /** The query side, for the reader. */
  readonly queries: Queries;
  /** The lake, for the archiver, its mapping and the delivery stream. */
  readonly lake: Lake;
  /** The reconciler, for its gauges and its own function. */
  readonly reconciler: Reconciler;
}

/**
 * An alarm on a gauge, which the reconciler measures in each run, also if it is zero. The value doesn't
 * return to zero before the problem is resolved, so neither does the alarm to OK.
 */
interface GaugeAlarmOptions extends Omit<AlarmOptions, 'metric' | 'periods'> {
  /**
   * How long the level may last before it is a problem.
   * @default - no time
   */
  readonly patience?: Duration;
}

interface AlarmOptions {
  /** What is compared with the threshold, once per period of the metric. */
  readonly metric: cloudwatch.IMetric;
  /** The lowest value that is a problem, in the metric's unit. */
  readonly threshold: number;
  /** The meaning of the alarm, in one sentence. */
  readonly means: string;
  /**
   * The number of consecutive periods at or above the threshold, from 1.
   * @default 1
   */
  readonly periods?: number;
  /**
   * What a period without data means.
   * @default - NOT_BREACHING: without traffic, there is no data and no problem
   */
  readonly missingData?: cloudwatch.TreatMissingData;
}

export class Observability extends Construct {
  private readonly settings: Settings;
  private readonly topic: SnsAction | undefined;

  constructor(scope: Construct, id: string, props: ObservabilityProps) {
    super(scope, id);
    this.settings = props.settings;
    const { alarmTopic } = props.settings;
    this.topic = alarmTopic ? new SnsAction(Topic.fromTopicArn(this, 'Topic', alarmTopic)) : undefined;
    this.alarms(props);
    this.dashboard(props);
  }

  // An alarm's id is also the heading of its section in the runbook.

  /** Creates the alarms on the reconciler's gauges, which don't depend on traffic. */
  private gaugeAlarms({ reconciler }: ObservabilityProps): void {
    const alarm = (id: Gauge, options: GaugeAlarmOptions) => this.gaugeAlarm(id, reconciler, options);
    alarm('AggregatesBlocked', { threshold: 1, means: 'Publication of at least one aggregate is suspended.' });
    alarm('AggregatesParked', {
      threshold: 1,
      patience: PARKING_PATIENCE,
      means:
        'For at least half an hour, one or more aggregates have had more pending events than one invocation publishes.',
    });
    alarm('AggregatesLagging', {
      threshold: 1,
      means: 'At least one aggregate has events that are not published, and is neither blocked nor parked.',
    });
    alarm('ViewsStale', { threshold: 1, means: 'At least one view lacks events that are published.' });
    alarm('BatchesOpen', { threshold: 1, means: 'At least one discarded batch is not repaired.' });
    alarm('MappingsUnhealthy', {
      threshold: 1,
      means: 'At least one event source mapping is missing, not enabled, or fails again and again.',
    });
    alarm('OldestUnpublished', {
      threshold: MAX_UNPUBLISHED.toMilliseconds(),
      means: 'An event was committed more than an hour ago and is not published.',
    });
  }

  /**
   * An alarm on a gauge. Missing data is breaching: a reconciler that doesn't run, or could not read the
   * gauge's source, must not look like a system without problems.
   *
   * Each period is long enough to contain a report. CloudWatch also evaluates earlier periods, for data
   * that arrives late.
   * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
   */
  private gaugeAlarm(id: Gauge, { reconciler, reportsWithin }: Reconciler, options: GaugeAlarmOptions): void {
    const { patience = Duration.minutes(0), ...alarm } = options;
    this.alarm(id, {
      ...alarm,
      metric: gauge(reconciler, id).with({ period: reportsWithin }),
      periods: Math.max(1, Math.ceil(patience.toMinutes() / reportsWithin.toMinutes())),
      missingData: cloudwatch.TreatMissingData.BREACHING,
    });
  }

  private alarms(props: ObservabilityProps): void {
    const { http, commands, domainStream, projection, queries, lake, reconciler } = props;
    const { translator } = domainStream;
    this.gaugeAlarms(props);
    for (const [name, function_, mapping] of [
      ['Translator', translator, domainStream.mapping],
      ['Projector', projection.projector, projection.mapping],
      ['Archiver', lake.archiver, lake.mapping],
    ] as const) {
      this.alarm(`${name}IteratorAge`, {
        metric: function_.handler.metric('IteratorAge', { statistic: 'Maximum' }),
        threshold: MAX_ITERATOR_AGE.toMilliseconds(),
        means: `The ${name.toLowerCase()} lags its stream, which deletes records at the end of its retention period.`,
      });
      this.alarm(`${name}Discarded`, {
        metric: discarded(mapping.eventSourceMappingId),
        threshold: 1,
        means: `Lambda has discarded records of the ${name.toLowerCase()} and has written them to the failure bucket.`,
      });
      this.alarm(`${name}DestinationFails`, {
        metric: notDelivered(function_),
        threshold: 1,
        means: `Lambda could not write a discarded batch of the ${name.toLowerCase()} to the failure bucket.`,
      });
    }
    for (const [name, function_] of [
      ['Writer', commands.writer],
      ['Translator', translator],
      ['Projector', projection.projector],
      ['Archiver', lake.archiver],
      ['Reader', queries.reader],
      ['Reconciler', reconciler.reconciler],
    ] as const) {
      this.alarm(`${name}Errors`, {
        metric: function_.handler.metricErrors(),
        threshold: 1,
        means: `Invocations of the ${name.toLowerCase()} fail because of a crash, a timeout or a missing permission.`,
      });
      this.alarm(`${name}Throttles`, {
        metric: function_.handler.metricThrottles(),
        threshold: 1,
        periods: 3,
        means: `Lambda throttles invocations of the ${name.toLowerCase()}.`,
      });
    }
    this.alarm('ApiFails', {
      metric: http.api.metricServerError({ statistic: 'Sum' }),
      threshold: 5,
      means: 'The HTTP API returns 5xx responses.',
    });
    this.alarm('ArchiveFails', {
      metric: own(lake.archiver, 'ArchiveFailures'),
      threshold: 1,
      periods: 3,
      means: 'The archiver could not send events to Firehose in time.',
    });
    this.alarm('LakeIsOld', {
      metric: lake.deliveryStream.metric('DeliveryToS3.DataFreshness', { statistic: 'Maximum' }),
      threshold: MAX_LAKE_AGE.toSeconds(),
      means: 'Events that Firehose has accepted do not reach the lake.',
    });
  }

  private alarm(id: string, options: AlarmOptions): void {
    const { metric, threshold, means, periods = 1 } = options;
    const alarm = new cloudwatch.Alarm(this, id, {
      metric,
      threshold,
      evaluationPeriods: periods,
      comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: options.missingData ?? cloudwatch.TreatMissingData.NOT_BREACHING,
      alarmDescription: `${means} What to do: ${this.settings.runbook}#${id.toLowerCase()}`,
    });
    if (this.topic) {
      alarm.addAlarmAction(this.topic);
      alarm.addOkAction(this.topic);
    }
  }

  private dashboard(props: ObservabilityProps): void {
    const { http, commands, domainStream, projection, queries, lake, reconciler } = props;
    const { translator } = domainStream;
    const { projector } = projection;
    const graph = (title: string, ...left: cloudwatch.IMetric[]) =>
      new cloudwatch.GraphWidget({ title, left, width: 8, height: 6 });
    const gauges = (title: string, ...names: Gauge[]) =>
      graph(title, ...names.map((name) => gauge(reconciler.reconciler, name)));
    const age = (of: RustFunction) => of.handler.metric('IteratorAge', { statistic: 'Maximum' });
    new cloudwatch.Dashboard(this, 'Dashboard', {
      defaultInterval: Duration.hours(3),
      widgets: [
        [
          gauges('Aggregates with unpublished events', 'AggregatesBlocked', 'AggregatesParked', 'AggregatesLagging'),
          gauges('Stale views, open batches, unhealthy mappings', 'ViewsStale', 'BatchesOpen', 'MappingsUnhealthy'),
          gauges('Age of the oldest unpublished event (ms)', 'OldestUnpublished'),
        ],
        [
          graph(
            'Commands and queries',
            http.api.metricCount(),
            http.api.metricClientError(),
            http.api.metricServerError(),
          ),
          graph(
            'Latency of the API',
            http.api.metricLatency({ statistic: 'p50' }),
            http.api.metricLatency({ statistic: 'p99' }),
          ),
          graph('Races lost by commands', own(commands.writer, 'RacesLost')),
        ],
        [
          graph(
            'Events translated',
            ...(['EventsTranslated', 'EventsPublished', 'EventsRepeated', 'EventsRepaired'] as const).map((name) =>
              own(translator, name),
            ),
          ),
          graph(
            'From commit to stream (ms)',
            own(translator, 'PublishLag', 'p50'),
            own(translator, 'PublishLag', 'Maximum'),
          ),
          graph('Publishing', own(translator, 'PublishRetries'), own(translator, 'AggregatesBlocked')),
        ],
        [
          graph('Events projected', own(projector, 'EventsProjected'), own(projector, 'ViewsStale')),
          graph('From commit to view (ms)', own(projector, 'ViewLag', 'p50'), own(projector, 'ViewLag', 'Maximum')),
          graph(
            'Events archived',
            own(lake.archiver, 'RecordsArchived'),
            own(lake.archiver, 'ArchiveRetries'),
            own(lake.archiver, 'ArchiveFailures'),
          ),
        ],
        [
          graph('Iterator age of the stream readers (ms)', age(translator), age(projector), age(lake.archiver)),
          graph(
            'Errors and throttles',
            ...[commands.writer, translator, projector, lake.archiver, queries.reader, reconciler.reconciler].flatMap(
              ({ handler }) => [handler.metricErrors(), handler.metricThrottles()],
            ),
          ),
          graph(
            'Discarded records',
            discarded(domainStream.mapping.eventSourceMappingId),
            discarded(projection.mapping.eventSourceMappingId),
            discarded(lake.mapping.eventSourceMappingId),
            ...[translator, projector, lake.archiver].map(notDelivered),
          ),
        ],
      ],
    });
  }
}

/** The reconciler's gauges. Other functions have metrics with the same names, which describe one batch. */
type Gauge =
  | 'AggregatesBlocked'
  | 'AggregatesParked'
  | 'AggregatesLagging'
  | 'ViewsStale'
  | 'BatchesOpen'
  | 'MappingsUnhealthy'
  | 'OldestUnpublished';

/** The maximum of a gauge in a period. */
function gauge(reconciler: RustFunction, name: Gauge): cloudwatch.Metric {
  return own(reconciler, name, 'Maximum');
}

/** A metric that a function emits itself. */
function own({ handler }: RustFunction, name: string, statistic = 'Sum'): cloudwatch.Metric {
  return new cloudwatch.Metric({
    namespace: NAMESPACE,
    metricName: name,
    dimensionsMap: { FunctionName: handler.functionName },
    statistic,
  });
}

/**
 * The number of records that a mapping has discarded and Lambda has written to the failure bucket.
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
 */
function discarded(mapping: string): cloudwatch.Metric {
  return new cloudwatch.Metric({
    namespace: 'AWS/Lambda',
    metricName: 'OnFailureDestinationDeliveredEventCount',
    dimensionsMap: { EventSourceMappingUUID: mapping },
    statistic: 'Sum',
  });
}

/**
 * Discarded batches of a function that Lambda could not write to the failure bucket. Only this
 * metric and the lagging aggregates show them.
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#invocation-metrics
 */
function notDelivered({ handler }: RustFunction): cloudwatch.Metric {
  return handler.metric('DestinationDeliveryFailures', { statistic: 'Sum' });
}
