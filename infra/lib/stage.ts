/**
 * The only differences between AWS and the local emulator.
 *
 * Everything else in this app is the same on both. A difference exists only if the emulator can't create a
 * resource, or behaves differently from AWS. The comment of each difference contains the reason. Settings
 * whose default depends on the stage (`removalPolicy`, `authorization`) are in `settings.ts`.
 */
import type { Stage } from './settings.ts';

export interface StageTraits {
  /**
   * The only AWS account to which the stack can be deployed: with credentials of another account, the CDK
   * fails. Local: the emulator's, which doesn't exist on AWS. So the local stage, with its open API and its
   * data that is deleted with the stack, can't be deployed to AWS, not even from a template that was
   * synthesised earlier.
   */
  readonly account: string | undefined;

  /**
   * How many batches of one shard the projector processes concurrently.
   * Local: 1. The emulator ignores the factor and processes one batch of a shard at a time.
   */
  readonly projectorParallelization: number;

  /**
   * How long the archiver gathers records, so that the lake gets few and large objects.
   * Local: 0, so that events reach the lake without this delay.
   */
  readonly archiverWindowSeconds: number;

  /**
   * Gzip the lake's objects.
   * Local: no. The emulator ignores the setting, and uncompressed lines are readable.
   */
  readonly lakeCompression: boolean;

  /**
   * How long Firehose gathers before it writes an object.
   * Local: 0. The emulator writes one object per record immediately.
   */
  readonly lakeBufferSeconds: number;

  /**
   * Create the domain's named queries in the stack's Athena work group.
   * Local: no. The emulator's CloudFormation can't create `AWS::Athena::NamedQuery`.
   */
  readonly namedQueries: boolean;

  /**
   * Add a pattern to the translator's filter that matches rows without `Type` on the emulator. On AWS, the
   * pattern isn't needed, and would match every snapshot: `domain-stream.ts`.
   */
  readonly filterNamesMissingParents: boolean;

  /**
   * Also set a table's tags outside of its replicas.
   * Local: yes. The emulator ignores the tags of the replicas, and reads only these tags.
   */
  readonly tableTagsBesideReplicas: boolean;
}

export const STAGES: Readonly<Record<Stage, StageTraits>> = {
  aws: {
    account: undefined,
    projectorParallelization: 4,
    archiverWindowSeconds: 60,
    lakeCompression: true,
    lakeBufferSeconds: 300,
    namedQueries: true,
    filterNamesMissingParents: false,
    tableTagsBesideReplicas: false,
  },
  local: {
    account: '000000000000',
    projectorParallelization: 1,
    archiverWindowSeconds: 0,
    lakeCompression: false,
    lakeBufferSeconds: 0,
    namedQueries: false,
    filterNamesMissingParents: true,
    tableTagsBesideReplicas: true,
  },
};
