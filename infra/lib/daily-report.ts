/**
 * The daily report: a schedule that runs the domain's query `daily-report` for the day before, and keeps the result
 * as a CSV file in the lake's bucket.
 */
import { CfnOutput, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import type { LakeCatalog } from './lake-catalog.ts';
import { FORMATS } from './lake-format.ts';
import type { NamedQuery } from './named-queries.ts';
import type { PrivateBucket } from './private-bucket.ts';
import type { Settings } from './settings.ts';
import { workGroup } from './work-group.ts';

/** The folder of the lake's bucket with the reports. They don't expire. */
export const REPORTS = 'reports/';

/** The named query that the report is the result of. */
const QUERY = 'daily-report';

/** At 01:00 UTC, Firehose has long delivered the events of the day before: it buffers them for minutes. */
const SCHEDULE = 'cron(0 1 * * ? *)';

/** Yesterday, as Athena computes it when the query runs. Athena's time zone is UTC. */
const YESTERDAY = "CAST(current_date - INTERVAL '1' DAY AS varchar)";

/** How long Scheduler tries to start the query. A later start must still be on the same day. */
const MAX_AGE = Duration.hours(12);

/** How often Scheduler tries again. The time between two attempts grows. */
const MAX_RETRIES = 20;

export interface DailyReportProps {
  /** The stack's settings. They decide the folder that the query reads. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the schedule and on the query. */
  readonly alarms: MillraceAlarms;
  /** The domain's queries. One of them is `daily-report`. */
  readonly queries: readonly NamedQuery[];
  /** The lake's bucket. */
  readonly bucket: PrivateBucket;
  /** The catalogue, whose database the query uses. */
  readonly catalog: LakeCatalog;
}

export class DailyReport extends Construct {
  constructor(scope: Construct, id: string, props: DailyReportProps) {
    super(scope, id);
    const { settings, alarms, bucket, catalog } = props;
    const query = props.queries.find(({ name }) => name === QUERY);
    if (!query) {
      throw new Error(`Setting "dailyReport" is true, but the domain's "queries" has no ${QUERY}.sql.`);
    }

    // The report has a work group of its own, because its results have another folder, and its metrics are those
    // of the report only.
    // Neither it nor the schedules outlive the setting: they contain no data, and their names would be taken if the
    // setting was `true` again.
    const group = workGroup(this, 'WorkGroup', {
      isRetained: false,
      description: `Daily report of ${Stack.of(this).stackName}`,
      results: bucket.s3UrlForObject(REPORTS),
    });
    const schedules = new scheduler.ScheduleGroup(this, 'Schedules', { removalPolicy: RemovalPolicy.DESTROY });
    const role = this.role(settings, schedules, group.name, bucket, catalog);
    const schedule = new scheduler.CfnSchedule(this, 'Schedule', {
      description: `Runs ${QUERY}.sql for the day before`,
      groupName: schedules.scheduleGroupName,
      scheduleExpression: SCHEDULE,
      scheduleExpressionTimezone: 'UTC',
      flexibleTimeWindow: { mode: 'OFF' },
      target: {
        // https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
        arn: `arn:${Stack.of(this).partition}:scheduler:::aws-sdk:athena:startQueryExecution`,
        roleArn: role.roleArn,
        input: Stack.of(this).toJsonString({
          QueryString: forYesterday(query),
          QueryExecutionContext: { Database: catalog.databaseName },
          WorkGroup: group.name,
          // Scheduler may invoke the target more than once. With the same token, Athena starts no second query.
          // https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html
          // https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
          ClientRequestToken: `${QUERY}-${group.name}-<aws.scheduler.scheduled-time>`,
        }),
        retryPolicy: { maximumEventAgeInSeconds: MAX_AGE.toSeconds(), maximumRetryAttempts: MAX_RETRIES },
      },
    });
    schedule.node.addDependency(group, schedules);
    new CfnOutput(Stack.of(this), 'DailyReports', {
      value: bucket.s3UrlForObject(REPORTS),
      description: 'Folder of the daily reports, which are CSV files',
    });

    // A report is due once a day. With a shorter period, an alarm would be OK again after the period.
    const period = Duration.days(1);
    // https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html
    alarms.add(this, 'ReportNotStarted', {
      metric: schedules.metricTargetErrors({ period }),
      threshold: 1,
      means: 'Athena did not accept the query of the daily report.',
    });
    // Athena emits the metric once for each query that has ended, and only if the work group publishes metrics.
    // https://docs.aws.amazon.com/athena/latest/ug/query-metrics-viewing.html
    alarms.add(this, 'ReportFails', {
      metric: new cloudwatch.Metric({
        namespace: 'AWS/Athena',
        metricName: 'TotalExecutionTime',
        dimensionsMap: { QueryState: 'FAILED', QueryType: 'DML', WorkGroup: group.name },
        statistic: cloudwatch.Stats.SAMPLE_COUNT,
        period,
      }),
      threshold: 1,
      means: 'The query of the daily report failed, so there is no report of the day before.',
    });
  }

  /** The role with which Scheduler starts the query, and Athena runs it. */
  private role(
    settings: Settings,
    schedules: scheduler.ScheduleGroup,
    group: string,
    bucket: PrivateBucket,
    catalog: LakeCatalog,
  ): iam.Role {
    const stack = Stack.of(this);
    const { folder } = FORMATS[settings.lakeFormat];
    const role = new iam.Role(this, 'Role', {
      // Only on behalf of this schedule group.
      // https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
      assumedBy: new iam.ServicePrincipal('scheduler.amazonaws.com', {
        conditions: {
          StringEquals: { 'aws:SourceAccount': stack.account },
          ArnEquals: { 'aws:SourceArn': schedules.scheduleGroupArn },
        },
      }),
      description: 'Allows the schedule of the daily report to query the lake',
      inlinePolicies: {
        // Athena reads the catalogue and the lake, and writes the result, with the permissions of the caller.
        // https://docs.aws.amazon.com/athena/latest/ug/security-iam-athena.html
        Report: new iam.PolicyDocument({
          statements: [
            new iam.PolicyStatement({
              actions: ['athena:StartQueryExecution'],
              resources: [stack.formatArn({ service: 'athena', resource: 'workgroup', resourceName: group })],
            }),
            // Athena needs the database `default` of the catalogue too. With partition projection, it needs no
            // partitions.
            // https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html
            // https://docs.aws.amazon.com/athena/latest/ug/partition-projection.html
            new iam.PolicyStatement({
              actions: ['glue:GetDatabase', 'glue:GetTable'],
              resources: [
                ...catalog.arns(catalog.tableName, catalog.viewName),
                stack.formatArn({ service: 'glue', resource: 'database', resourceName: 'default' }),
              ],
            }),
            new iam.PolicyStatement({
              actions: ['s3:GetBucketLocation', 's3:ListBucket', 's3:ListBucketMultipartUploads'],
              resources: [bucket.bucketArn],
            }),
            new iam.PolicyStatement({
              actions: ['s3:GetObject'],
              resources: [bucket.arnForObjects(`${folder}*`), bucket.arnForObjects(`${REPORTS}*`)],
            }),
            new iam.PolicyStatement({
              actions: ['s3:AbortMultipartUpload', 's3:ListMultipartUploadParts', 's3:PutObject'],
              resources: [bucket.arnForObjects(`${REPORTS}*`)],
            }),
          ],
        }),
      },
    });
    bucket.acknowledgePrefix(role, folder, 'Firehose has named the objects that the query reads.');
    bucket.acknowledgePrefix(role, REPORTS, 'Athena names the result after the id of the query.');
    return role;
  }
}

/**
 * The query for the day before: the parameters `from` and `to` are replaced by an expression, because parameters of
 * a schedule would have to be constants.
 */
export function forYesterday({ name, text }: NamedQuery): string {
  const sql = text.replace(/\?\s*\/\*\s*(\w+)\s*\*\//g, (_, parameter: string) => {
    if (parameter !== 'from' && parameter !== 'to') {
      throw new Error(
        `${name}.sql: a daily report has no value for the parameter "${parameter}", only for from and to`,
      );
    }
    return YESTERDAY;
  });
  const code = sql.replace(/--.*|\/\*[\s\S]*?\*\/|'[^']*'|"[^"]*"/g, '');
  if (code.includes('?')) throw new Error(`${name}.sql: a parameter has no name: write "? /* from */" or "? /* to */"`);
  return sql;
}
