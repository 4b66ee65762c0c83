/**
 * The only differences between AWS and the local emulator.
 *
 * Everything else in this app is the same on both. A difference is here because the emulator
 * can't create the thing, or would do something else with it than AWS does; the reason stands
 * with it. Settings whose default depends on the stage (`removalPolicy`, `authorization`) are in
 * `settings.ts`.
 */
import type { Stage } from './settings.ts';

export interface StageTraits {
  /**
   * The only account that the stack can be deployed to: with another one's credentials the CDK stops.
   * Local: the emulator's, which doesn't exist on AWS, so that an open API with data that is deleted
   * never gets onto AWS, not even from a template that was synthesised earlier.
   */
  readonly account: string | undefined;

  /**
   * How many batches of one shard the projector works on at once.
   * Local: 1. The emulator polls a shard once at a time whatever the factor.
   */
  readonly projectorParallelization: number;

  /**
   * How long the archiver gathers records, so that the lake gets few and large objects.
   * Local: not at all. Whoever watches an event travel doesn't want to wait for it.
   */
  readonly archiverWindowSeconds: number;

  /**
   * Gzip the lake's objects.
   * Local: no. The emulator ignores the setting, and plain lines can be read by eye.
   */
  readonly lakeCompression: boolean;

  /**
   * How long Firehose gathers before it writes an object.
   * Local: not at all. The emulator writes one object per record, at once.
   */
  readonly lakeBufferSeconds: number;

  /**
   * The `domain_events` view, which shows each event once.
   * Local: left out. The emulator's Athena can't read a view that is stored in Glue.
   */
  readonly lakeView: boolean;

  /**
   * Say a second time, in the emulator's reading, that rows without `Type` pass the translator's
   * filter. AWS needs no such pattern, and would let every snapshot through it: `domain-stream.ts`.
   */
  readonly filterNamesMissingParents: boolean;

  /**
   * Set a table's tags a second time, next to its replicas.
   * Local: yes. The emulator ignores the replicas with their tags, and reads only these tags.
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
    lakeView: true,
    filterNamesMissingParents: false,
    tableTagsBesideReplicas: false,
  },
  local: {
    account: '000000000000',
    projectorParallelization: 1,
    archiverWindowSeconds: 0,
    lakeCompression: false,
    lakeBufferSeconds: 0,
    lakeView: false,
    filterNamesMissingParents: true,
    tableTagsBesideReplicas: true,
  },
};
