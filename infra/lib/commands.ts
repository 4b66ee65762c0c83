/** The command side: the writer, which turns HTTP commands into events. */
import { Duration } from 'aws-cdk-lib';
import { HttpMethod, HttpRouteKey } from 'aws-cdk-lib/aws-apigatewayv2';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import { aggregatePath, collectionPath, type Domain } from './domain.ts';
import type { EventLog } from './event-log.ts';
import type { HttpApi } from './http-api.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

export interface CommandsProps {
  /** The stack's settings. The writer's code, its architecture and its log group depend on them. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the writer. */
  readonly alarms: MillraceAlarms;
  /** The domain. Its commands are the routes, and the writer's environment contains its settings. */
  readonly domain: Domain;
  /** The tables that the writer uses: it appends events to one and stores outcomes in the other. */
  readonly eventLog: EventLog;
  /** The API that gets the routes of the commands. */
  readonly http: HttpApi;
}

export class Commands extends Construct {
  readonly writer: RustFunction;

  constructor(scope: Construct, id: string, { settings, alarms, domain, eventLog, http }: CommandsProps) {
    super(scope, id);

    this.writer = new RustFunction(this, 'Writer', {
      settings,
      alarms,
      name: 'writer',
      environment: {
        ...domain.environment,
        EVENTS_TABLE: eventLog.events.tableName,
        IDEMPOTENCY_TABLE: eventLog.idempotency.tableName,
      },
      // Together with the 10 s that Lambda allows for a start, it is less than the API's timeout of 30 s. It
      // is longer than two calls of a service that time out, so that the client receives the writer's own
      // response. A test compares it with the functions' time-outs: tests/tests/infra.rs.
      // https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
      timeout: Duration.seconds(15),
      memoryMB: 512,
    });
    // The permissions are append-only: no UpdateItem, no DeleteItem. A transaction needs the permissions of
    // its puts.
    // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    // GetItem reads single rows. TransactGetItems needs the same permission.
    eventLog.events.grant(this.writer.handler, 'dynamodb:Query', 'dynamodb:GetItem', 'dynamodb:PutItem');
    eventLog.idempotency.grant(this.writer.handler, 'dynamodb:GetItem', 'dynamodb:PutItem');

    // The writer also receives unknown paths and methods. It returns problem+json for them, and the API
    // itself would return {"message":"Not Found"}.
    http.routes('Commands', this.writer, HttpRouteKey.DEFAULT, HttpMethod.POST, {
      [domain.opens]: collectionPath(domain),
      ...Object.fromEntries(domain.commands.map((command) => [command, aggregatePath(domain, command)])),
    });
  }
}
