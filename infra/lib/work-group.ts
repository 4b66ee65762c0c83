/** The properties that all of Millrace's Athena work groups share. */
import { Names, RemovalPolicy } from 'aws-cdk-lib';
import * as athena from 'aws-cdk-lib/aws-athena';
import type { Construct } from 'constructs';

/**
 * The maximum number of bytes that one query may read: 100 GiB, about 0.5 USD at 5 USD per TB. It stops a
 * query without a condition on `dt`. The minimum that Athena accepts is 10 MB.
 * https://docs.aws.amazon.com/athena/latest/ug/workgroups-setting-control-limits-cloudwatch.html
 */
const SCAN_LIMIT = 100 * 1024 ** 3;

export interface WorkGroupProps {
  /** Whether the work group outlives the stack. Otherwise it is deleted with its history of queries. */
  readonly isRetained: boolean;
  /** What the work group is for. The console shows it. */
  readonly description: string;
  /** The address of the folder for results, `s3://bucket/folder/`. */
  readonly results: string;
}

/** Creates a work group whose settings each query has, whatever the caller asks for. */
export function workGroup(scope: Construct, id: string, props: WorkGroupProps): athena.CfnWorkGroup {
  const { isRetained, description, results } = props;
  const group = new athena.CfnWorkGroup(scope, id, {
    // CloudFormation doesn't generate names of work groups. This name is derived from the stack's name.
    name: Names.uniqueResourceName(scope, { maxLength: 64, separator: '-' }),
    description,
    recursiveDeleteOption: !isRetained,
    workGroupConfiguration: {
      enforceWorkGroupConfiguration: true,
      publishCloudWatchMetricsEnabled: true,
      bytesScannedCutoffPerQuery: SCAN_LIMIT,
      engineVersion: { selectedEngineVersion: 'Athena engine version 3' },
      resultConfiguration: {
        outputLocation: results,
        encryptionConfiguration: { encryptionOption: 'SSE_S3' },
      },
    },
  });
  group.applyRemovalPolicy(isRetained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY);
  return group;
}
