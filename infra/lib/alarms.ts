/**
 * The alarms of a deployment. Each construct adds the alarms on its own resources, and each alarm has a section
 * in the runbook. This registry contains what they have in common: their form, and the topics that they notify.
 */
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

export interface MillraceAlarmProps {
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
  /**
   * The heading of the alarm's section in the runbook, in upper or lower case.
   * @default - the alarm's id
   */
  readonly section?: string;
}

export class MillraceAlarms {
  /** Every alarm that was added. */
  readonly all: cloudwatch.Alarm[] = [];
  private readonly actions: SnsAction[] = [];
  private readonly runbook: string | undefined;

  /** `runbook` is the address of the runbook, to which the description of each alarm refers if there is one. */
  constructor(runbook?: string) {
    this.runbook = runbook;
  }

  /** Adds an alarm to `scope`, which is the construct that owns the metric's resource. */
  add(scope: Construct, id: string, props: MillraceAlarmProps): cloudwatch.Alarm {
    const { metric, threshold, means, periods = 1, section = id } = props;
    const alarm = new cloudwatch.Alarm(scope, id, {
      metric,
      threshold,
      evaluationPeriods: periods,
      comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: props.missingData ?? cloudwatch.TreatMissingData.NOT_BREACHING,
      alarmDescription:
        this.runbook === undefined ? means : `${means} What to do: ${this.runbook}#${section.toLowerCase()}`,
    });
    this.all.push(alarm);
    for (const action of this.actions) addAction(alarm, action);
    return alarm;
  }

  /** Lets every alarm notify `topic` when it goes to ALARM and to OK, also alarms that are added later. */
  notify(topic: ITopic): void {
    const action = new SnsAction(topic);
    this.actions.push(action);
    for (const alarm of this.all) addAction(alarm, action);
  }
}

function addAction(alarm: cloudwatch.Alarm, action: SnsAction): void {
  alarm.addAlarmAction(action);
  alarm.addOkAction(action);
}
