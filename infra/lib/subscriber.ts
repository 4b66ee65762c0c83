/** A function that subscribes to the domain stream, in the stack of the team that owns the function. */
import { Duration, Names, RemovalPolicy, Stack, Token, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kinesis from 'aws-cdk-lib/aws-kinesis';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { MillraceAlarms } from './alarms.ts';
import { DiscardedBatches, FailureDestination } from './discarded-batches.ts';
import { consumerMapping, READ_ACTIONS } from './domain-stream-consumer.ts';
import type { DomainStreamReference } from './domain-stream-reference.ts';
import { addInvocationAlarms, type NamedFunction } from './invocation-alarms.ts';
import { addLogAlarms } from './log-alarms.ts';
import { addReaderAlarms } from './mapping.ts';
import { StartingPosition } from './starting-position.ts';

/** The number of events in a batch, unless it is given. */
const DEFAULT_BATCH_SIZE = 100;

/** The batch size above which a warning appears. */
const LARGE_BATCH = 1000;

/** The timeout of a function, unless it is given. https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html */
const DEFAULT_TIMEOUT = Duration.seconds(3);

/** The timeout below which a warning appears. */
const SHORT_TIMEOUT = Duration.seconds(30);

export interface SubscriberProps {
  /**
   * The domain stream: in the region of the stack, because Lambda reads only streams of its region, and in its AWS
   * account or in another one.
   */
  readonly stream: DomainStreamReference;
  /**
   * The function that consumes the events. It has to return a partial batch response, as the libraries for consumers
   * do. Its role must be known, because it gets permissions. Its timeout has to be sufficient for a whole batch: below 30
   * seconds, the synthesis shows a warning.
   * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html
   */
  readonly handler: lambda.IFunction;
  /**
   * Where the mapping begins to read. CloudFormation can't change it: it would create a second mapping, which Lambda
   * refuses. So remove the subscriber in one deployment, and add it again in the next one.
   * @default StartingPosition.trimHorizon()
   */
  readonly startingPosition?: StartingPosition;
  /**
   * The maximum number of events in one invocation, 1 to 10,000. Lambda also limits them to 6 MB. Above 1,000, the
   * synthesis shows a warning.
   * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
   * @default 100
   */
  readonly batchSize?: number;
  /**
   * The batching window: how long Lambda gathers events for a batch, 0 to 5 minutes.
   * @default - none: Lambda invokes the function as soon as there are events
   */
  readonly batchingWindow?: Duration;
  /**
   * The number of batches of one shard that Lambda processes concurrently, 1 to 10. The events of one aggregate keep
   * their order with each number, because they have the same partition key.
   * https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parallelization.html
   * @default 1
   */
  readonly parallelizationFactor?: number;
  /**
   * `true` registers a consumer with enhanced fan-out: the function gets 2 MB/s of each shard of its own, after about
   * 70 ms. AWS charges for it. Otherwise it shares 2 MB/s of each shard with other readers. A stream in another AWS
   * account isn't supported, because its owner has to register the consumer.
   * https://docs.aws.amazon.com/streams/latest/dev/enhanced-consumers.html
   * @default false
   */
  readonly enhancedFanOut?: boolean;
  /**
   * The only types of events that the function receives, 1 or more, such as `OrderPlaced`. Lambda drops all other
   * records, also those that aren't JSON.
   *
   * Don't use it with a library for consumers, or any other code that checks sequences: the sequences of the remaining
   * events have gaps, so the sequence gate would skip the next event of nearly every aggregate, as after a lost event.
   * Without the gate, the function can't detect a lost event. Without a filter, a function skips the other types at
   * almost no cost, because Lambda charges for invocations and their duration, not for records.
   * https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-filtering.html
   * @default - all events
   */
  readonly onlyEventTypesWithoutSequenceGate?: string[];
  /**
   * The bucket to which Lambda writes a batch that it discards, below `aws/lambda/`. The role of the function is
   * allowed to list the bucket and to write there.
   * @default - a bucket of its own: encrypted, private, and accessible over TLS only
   */
  readonly failureBucket?: s3.IBucket;
  /**
   * How long the subscriber's own failure bucket retains a discarded batch, in whole days.
   * @default Duration.days(90)
   */
  readonly failureRetention?: Duration;
  /**
   * The bucket to which S3 writes the access log of the subscriber's own failure bucket.
   * @default - no access log
   */
  readonly accessLogsBucket?: s3.IBucket;
  /**
   * Whether the subscriber's own failure bucket outlives the stack. A bucket that contains objects isn't emptied, so
   * its deletion fails.
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;
  /**
   * The age of the oldest event of a batch from which on the alarm on the iterator age is in ALARM. When a subscriber is
   * new, the oldest event is as old as the stream's retention, so the alarm is in ALARM until it has caught up.
   * @default Duration.hours(1)
   */
  readonly maxIteratorAge?: Duration;
  /**
   * The address of the team's runbook. The description of each alarm refers to a section of it: `#iteratorage`,
   * `#discarded`, `#destinationfails`, `#errors` or `#throttles`, and with `alarmOnLog` also `#gaps` or `#undecodable`.
   * @default - the descriptions refer to no runbook
   */
  readonly runbook?: string;
}

/**
 * Subscribes a function to the domain stream of Millrace: the event source mapping, the failure destination, the
 * function's permissions, and alarms.
 *
 * The mapping reads from the oldest event on, retries a failed batch until it is two hours younger than the stream's
 * retention and at most 7 days old, bisects a batch that fails as a whole, and understands partial batch responses.
 * Then Lambda writes the batch to the failure bucket.
 *
 * The construct depends on no feature flag of the CDK, and on no setting of Millrace.
 */
export class Subscriber extends Construct {
  /** The event source mapping that invokes the function. */
  readonly mapping: lambda.IEventSourceMapping;
  /** The bucket that contains the discarded batches. */
  readonly failureBucket: s3.IBucket;
  /** The alarms on the function and its mapping. */
  readonly alarms: MillraceAlarms;
  private readonly reader: NamedFunction;

  constructor(scope: Construct, id: string, props: SubscriberProps) {
    super(scope, id);
    const { stream, handler } = props;
    this.check(props);

    const discarded =
      props.failureBucket === undefined
        ? this.discardedBatches(props)
        : { bucket: props.failureBucket, destination: new FailureDestination(props.failureBucket) };
    this.failureBucket = discarded.bucket;

    const start = props.startingPosition ?? StartingPosition.trimHorizon();
    const consumer = props.enhancedFanOut ? this.streamConsumer(stream.stream) : undefined;
    const mapping = new lambda.EventSourceMapping(this, 'Mapping', {
      ...consumerMapping({
        retention: stream.retentionPeriod,
        onFailure: discarded.destination,
        batchSize: props.batchSize ?? DEFAULT_BATCH_SIZE,
        parallelizationFactor: props.parallelizationFactor ?? 1,
        window: props.batchingWindow,
      }),
      target: handler,
      eventSourceArn: consumer?.streamConsumerArn ?? stream.stream.streamArn,
      startingPosition: start.position,
      ...(start.timestamp !== undefined && { startingPositionTimestamp: start.timestamp }),
      ...(props.onlyEventTypesWithoutSequenceGate && {
        filters: [lambda.FilterCriteria.filter({ data: { type: props.onlyEventTypesWithoutSequenceGate } })],
      }),
    });
    this.mapping = mapping;
    // Lambda checks the permissions when the mapping is created.
    for (const grant of this.grants(stream, handler, consumer)) grant.applyBefore(mapping);

    this.alarms = new MillraceAlarms(props.runbook);
    this.reader = { name: `subscriber ${this.node.path}`, section: '', handler };
    addInvocationAlarms(this, this.reader, this.alarms);
    addReaderAlarms(this, { reader: this.reader, mapping, alarms: this.alarms, maxIteratorAge: props.maxIteratorAge });
  }

  /** Lets every alarm notify `topic` when it goes to ALARM and to OK. */
  notify(topic: ITopic): void {
    this.alarms.notify(topic);
  }

  /**
   * Adds two alarms on what the libraries for consumers report only in the log, and a metric filter for each:
   *
   * - `Gaps`: events of an aggregate are skipped, because earlier ones are missing or the version is unknown.
   * - `Undecodable`: a record contains no event that the consumer can read.
   *
   * `logGroup` is the function's log group, which has to contain warnings in the words of the libraries. An alarm goes to
   * OK when no further such record arrives. A gap remains until the missing events are sent again.
   * https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/MonitoringLogData.html
   */
  alarmOnLog(logGroup: logs.ILogGroup): void {
    addLogAlarms(this, { name: this.reader.name, logGroup, alarms: this.alarms });
  }

  /** The function's permissions on the stream: what Lambda needs to read it, and nothing else. */
  private grants(
    { stream, encryptionKey }: DomainStreamReference,
    grantee: lambda.IFunction,
    consumer: kinesis.IStreamConsumer | undefined,
  ): iam.Grant[] {
    const allow = (resourceArn: string, ...actions: string[]) =>
      iam.Grant.addToPrincipal({ grantee, actions, resourceArns: [resourceArn] });
    return [
      allow(stream.streamArn, ...READ_ACTIONS),
      ...(consumer ? [allow(consumer.streamConsumerArn, 'kinesis:SubscribeToShard')] : []),
      // https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html
      ...(encryptionKey ? [allow(encryptionKey.keyArn, 'kms:Decrypt')] : []),
    ];
  }

  private discardedBatches(props: SubscriberProps) {
    const discarded = new DiscardedBatches(this, 'DiscardedBatches', {
      removalPolicy: props.removalPolicy ?? RemovalPolicy.RETAIN,
      retention: props.failureRetention ?? Duration.days(90),
      accessLogs: props.accessLogsBucket,
    });
    if (props.accessLogsBucket === undefined) {
      Validations.of(discarded.bucket).acknowledge({
        id: 'AwsSolutions::AwsSolutions-S1',
        reason: 'Only Lambda writes the bucket. A team that has to record its readers sets accessLogsBucket.',
      });
    }
    return { bucket: discarded.bucket, destination: discarded };
  }

  private streamConsumer(stream: kinesis.IStream): kinesis.StreamConsumer {
    return new kinesis.StreamConsumer(this, 'StreamConsumer', {
      stream,
      // CloudFormation doesn't generate this name. It has to be unique among the consumers of the stream.
      streamConsumerName: Names.uniqueResourceName(this, { maxLength: 128, separator: '-' }),
    });
  }

  private check({ stream, handler, ...props }: SubscriberProps): void {
    if (handler.role === undefined) {
      throw this.invalid('the role of the function is unknown, so it can get no permissions: import it with its role');
    }
    this.checkInteger('batchSize', props.batchSize, 10_000);
    this.checkInteger('parallelizationFactor', props.parallelizationFactor, 10);
    if (props.onlyEventTypesWithoutSequenceGate?.length === 0) {
      throw this.invalid('onlyEventTypesWithoutSequenceGate is empty, so the function would receive no event');
    }
    const { account, region } = Stack.of(this);
    const { env } = stream.stream;
    const isInOtherAccount = areDifferent(account, env.account);
    if (props.enhancedFanOut && isInOtherAccount) {
      throw this.invalid('enhancedFanOut is not supported for a stream of another AWS account');
    }
    if (areDifferent(region, env.region)) {
      throw this.invalid(
        `the stream is in the region ${env.region} and the stack in ${region}, but Lambda reads only streams of its region`,
      );
    }
    // https://docs.aws.amazon.com/streams/latest/dev/what-is-sse.html
    if (isInOtherAccount && stream.encryptionKey === undefined) {
      throw this.invalid(
        `the stream is in the AWS account ${env.account} and the stack in ${account}, so the stream needs a ` +
          'customer-managed key, and DomainStreamReference its encryptionKeyArn: no other account can use the key of AWS',
      );
    }
    this.warn(handler, props.batchSize ?? DEFAULT_BATCH_SIZE);
  }

  /** Warns of values that Lambda accepts, although they are probably mistakes. */
  private warn(handler: lambda.IFunction, batchSize: number): void {
    // https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html
    if (batchSize > LARGE_BATCH) {
      Validations.of(this).addWarning(
        'millrace-infra:Subscriber.batchSize',
        `batchSize is ${batchSize}; recommended: up to ${LARGE_BATCH}, because the function has to process a batch within ` +
          'its timeout. An invocation has at most 6 MB, which is about 4600 events of usual size: Lambda delivers no more.',
      );
    }
    if (!(handler instanceof lambda.Function)) return;
    const { timeout = DEFAULT_TIMEOUT } = handler;
    if (!timeout.isUnresolved() && timeout.toSeconds() < SHORT_TIMEOUT.toSeconds()) {
      Validations.of(this).addWarning(
        'millrace-infra:Subscriber.timeout',
        `the timeout of the function is ${timeout.toSeconds()} seconds; recommended: at least ` +
          `${SHORT_TIMEOUT.toSeconds()}, because a batch has up to ${batchSize} events, and after a timeout Lambda ` +
          'delivers them again',
      );
    }
  }

  private checkInteger(name: string, value: number | undefined, max: number): void {
    if (value === undefined || Token.isUnresolved(value)) return;
    if (!Number.isInteger(value) || value < 1 || value > max) {
      throw this.invalid(`${name} is ${value}; allowed: an integer from 1 to ${max}`);
    }
  }

  private invalid(reason: string): Error {
    return new Error(`${this.node.path}: ${reason}`);
  }
}

/** Whether two values differ. A token has no value yet, so it differs from nothing. */
function areDifferent(one: string, other: string): boolean {
  return !Token.isUnresolved(one) && !Token.isUnresolved(other) && one !== other;
}
