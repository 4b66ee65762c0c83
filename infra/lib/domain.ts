/**
 * What the stack needs to know about the domain: the part of the Rust trait `Domain` that determines the
 * routes, the functions' environment and the lake. `../domain/accounts.ts` describes the bank account.
 */

export interface Domain {
  /** First segment of each path, `Domain::COLLECTION` in Rust: `orders`. */
  readonly collection: string;

  /** The noun for one aggregate: `order`. The id of the view's route contains it. */
  readonly aggregate: string;

  /**
   * Member of public data that contains the aggregate's id, `Domain::ID` in Rust: `orderId`. The paths'
   * parameter has the same name.
   */
  readonly id: string;

  /** The command that `POST /{collection}` is, `Domain::OPENS` in Rust: `place`. */
  readonly opens: string;

  /** The other commands. Each is the last segment of its path: `ship`. */
  readonly commands: readonly string[];

  /** Last segment of the history's path, `Project::HISTORY` in Rust: `history`. */
  readonly history: string;

  /**
   * Last segment of the path of the view at a time, `Project::VIEW_AT` in Rust.
   * @default - there is no such query
   */
  readonly viewAt?: string;

  /** The lake's columns: the content of `contracts/lake.json`, which `millrace contract` generates from Rust. */
  readonly lake: LakeColumns;

  /**
   * The folder of the queries of the lake: absolute, with a file `<name>.sql` for each. Athena lists them as named
   * queries.
   * @default - there are no named queries
   */
  readonly queries?: string;

  /**
   * The domain's own settings, as environment variables of the functions that read them: the writer, the
   * translator and the reconciler.
   */
  readonly environment: Readonly<Record<string, string>>;

  /** Outputs that the stack has next to those of `names.json`. */
  readonly outputs: Readonly<Record<string, DomainOutput>>;
}

/** The columns of the lake's table, in its order. */
export interface LakeColumns {
  /** The members of an event's envelope, and `data_base64`. */
  readonly columns: readonly LakeColumn[];
  /** The fields of the column `data`. */
  readonly data: readonly LakeColumn[];
  /** The columns that come from an object's path and not from the events: `dt`. */
  readonly partitions: readonly LakeColumn[];
}

/** A column, or a field of the column `data`. */
export interface LakeColumn {
  /** The member's name in lower case: `itemcount`. */
  readonly name: string;
  /**
   * The type in Hive: `string`, `boolean`, `bigint`, which is a signed integer of 64 bits, a `struct`, or an `array`
   * of `struct`.
   */
  readonly type: string;
  /**
   * The fields of the `struct`, or of the elements of the `array`.
   * @default - the type has no fields, or it is the column `data`, whose fields `LakeColumns` lists
   */
  readonly fields?: readonly LakeColumn[];
}

/** An output of the CloudFormation stack. */
export interface DomainOutput {
  /** What `aws cloudformation describe-stacks` and `--outputs-file` show; it may be a token. */
  readonly value: string;
  /** What the value is for, at most 1,024 bytes. The CloudFormation console shows it. */
  readonly description: string;
}

/** `/orders`. */
export function collectionPath({ collection }: Domain): string {
  return `/${collection}`;
}

/** `/orders/{orderId}`, or with a last segment `/orders/{orderId}/ship`. */
export function aggregatePath({ collection, id }: Domain, segment?: string): string {
  return [`/${collection}/{${id}}`, segment].filter((it) => it !== undefined).join('/');
}
