/** The command side: the writer, which turns HTTP commands into events. */
import { Duration } from 'aws-cdk-lib';
import { HttpMethod, HttpRouteKey } from 'aws-cdk-lib/aws-apigatewayv2';
import { Construct } from 'constructs';
import { aggregatePath, collectionPath, type Domain } from './domain.ts';
import type { EventLog } from './event-log.ts';
import type { HttpApi } from './http-api.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

export interface CommandsProps {
  readonly settings: Settings;
  /** Its commands are the routes, and its settings are in the writer's environment. */
  readonly domain: Domain;
  readonly eventLog: EventLog;
  readonly http: HttpApi;
}

export class Commands extends Construct {
  readonly writer: RustFunction;

  constructor(scope: Construct, id: string, { settings, domain, eventLog, http }: CommandsProps) {
    super(scope, id);

    this.writer = new RustFunction(this, 'Writer', {
      settings,
      name: 'writer',
      environment: {
        ...domain.environment,
        EVENTS_TABLE: eventLog.events.tableName,
        IDEMPOTENCY_TABLE: eventLog.idempotency.tableName,
      },
      // With Lambda's 10 s for a start, below the 30 s after which the API stops waiting; and longer
      // than two calls of a service that time out, so that the client gets the writer's own answer.
      // A test compares it with the functions' time-outs: tests/tests/infra.rs.
      // https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
      timeout: Duration.seconds(15),
      memoryMB: 512,
    });
    // Append-only by permission too: no UpdateItem, no DeleteItem. A transaction asks for the
    // permissions of the puts inside it.
    // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    // GetItem reads single rows; in a transaction (TransactGetItems) it is the same permission.
    eventLog.events.grant(this.writer.handler, 'dynamodb:Query', 'dynamodb:GetItem', 'dynamodb:PutItem');
    eventLog.idempotency.grant(this.writer.handler, 'dynamodb:GetItem', 'dynamodb:PutItem');

    // Unknown paths and methods come here too: the writer answers them with problem+json, where
    // the API itself would say {"message":"Not Found"}.
    http.routes('Commands', this.writer, HttpRouteKey.DEFAULT, HttpMethod.POST, {
      [domain.opens]: collectionPath(domain),
      ...Object.fromEntries(domain.commands.map((command) => [command, aggregatePath(domain, command)])),
    });
  }
}
