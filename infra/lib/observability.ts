/**
 * The topic that the alarms notify, and a dashboard in the order of the pipeline. The alarms are in the constructs
 * that own their resources.
 */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import type { Commands } from './commands.ts';
import type { DomainStream } from './domain-stream.ts';
import type { Gauge } from './gauges.ts';
import type { HttpApi } from './http-api.ts';
import type { Lake } from './lake.ts';
import { destinationFailures, discardedRecords, iteratorAge } from './mapping.ts';
import type { Projection } from './projection.ts';
import type { Queries } from './queries.ts';
import type { Reconciler } from './reconciler.ts';
import type { Settings } from './settings.ts';

export interface ObservabilityProps {
  /** The stack's settings. `alarmTopic` is the topic that the alarms notify. */
  readonly settings: Settings;
  /** The registry of all alarms. */
  readonly alarms: MillraceAlarms;
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

export class Observability extends Construct {
  constructor(scope: Construct, id: string, props: ObservabilityProps) {
    super(scope, id);
    const { alarmTopic } = props.settings;
    if (alarmTopic !== undefined) props.alarms.notify(Topic.fromTopicArn(this, 'Topic', alarmTopic));
    this.dashboard(props);
  }

  private dashboard(props: ObservabilityProps): void {
    const { http, commands, domainStream, projection, queries, lake, reconciler } = props;
    const { translator } = domainStream;
    const { projector } = projection;
    const graph = (title: string, ...left: cloudwatch.IMetric[]) =>
      new cloudwatch.GraphWidget({ title, left, width: 8, height: 6 });
    const gauges = (title: string, ...names: Gauge[]) =>
      graph(title, ...names.map((name) => reconciler.gauges.metric(name)));
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
          graph('Races lost by commands', commands.writer.metric('RacesLost')),
        ],
        [
          graph(
            'Events translated',
            ...['EventsTranslated', 'EventsPublished', 'EventsRepeated', 'EventsRepaired'].map((name) =>
              translator.metric(name),
            ),
          ),
          graph(
            'From commit to stream (ms)',
            translator.metric('PublishLag', 'p50'),
            translator.metric('PublishLag', 'Maximum'),
          ),
          graph(
            'Publishing',
            translator.metric('PublishRetries'),
            translator.metric('AggregatesBlocked'),
            translator.metric('LongestChain', 'Maximum'),
          ),
        ],
        [
          graph('Events projected', projector.metric('EventsProjected'), projector.metric('ViewsStale')),
          graph('From commit to view (ms)', projector.metric('ViewLag', 'p50'), projector.metric('ViewLag', 'Maximum')),
          graph(
            'Events archived',
            lake.archiver.metric('RecordsArchived'),
            lake.archiver.metric('ArchiveRetries'),
            lake.archiver.metric('ArchiveFailures'),
          ),
        ],
        [
          graph('Iterator age of the stream readers (ms)', ...[translator, projector, lake.archiver].map(iteratorAge)),
          graph(
            'Errors and throttles',
            ...[commands.writer, translator, projector, lake.archiver, queries.reader, reconciler.reconciler].flatMap(
              ({ handler }) => [handler.metricErrors(), handler.metricThrottles()],
            ),
          ),
          graph(
            'Discarded records',
            ...[domainStream.mapping, projection.mapping, lake.mapping].map(discardedRecords),
            ...[translator, projector, lake.archiver].map(destinationFailures),
          ),
        ],
      ],
    });
  }
}
