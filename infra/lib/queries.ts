/** The query side: the reader, which returns views and histories from the read models. */
import { Duration } from 'aws-cdk-lib';
import { HttpMethod, HttpRouteKey } from 'aws-cdk-lib/aws-apigatewayv2';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import { aggregatePath, type Domain } from './domain.ts';
import type { HttpApi } from './http-api.ts';
import type { Projection } from './projection.ts';
import { RustFunction } from './rust-function.ts';
import type { Settings } from './settings.ts';

export interface QueriesProps {
  /** The stack's settings. The reader's code, its architecture and its log group depend on them. */
  readonly settings: Settings;
  /** The registry that gets the alarms on the reader. */
  readonly alarms: MillraceAlarms;
  /** The domain. Its queries are the routes. */
  readonly domain: Domain;
  /** The read models, of which the reader returns views and histories. */
  readonly projection: Projection;
  /** The API that gets the routes of the queries. */
  readonly http: HttpApi;
}

export class Queries extends Construct {
  readonly reader: RustFunction;

  constructor(scope: Construct, id: string, { settings, alarms, domain, projection, http }: QueriesProps) {
    super(scope, id);

    this.reader = new RustFunction(this, 'Reader', {
      settings,
      alarms,
      name: 'reader',
      environment: {
        VIEW_TABLE: projection.views.tableName,
        HISTORY_TABLE: projection.history.tableName,
      },
      // The same as the writer's. A query with `minSequence` waits up to two seconds for the read model.
      timeout: Duration.seconds(15),
      memoryMB: 512,
    });
    projection.views.grant(this.reader.handler, 'dynamodb:GetItem');
    projection.history.grant(this.reader.handler, 'dynamodb:GetItem', 'dynamodb:Query');

    const { aggregate, history, viewAt } = domain;
    http.routes('Queries', this.reader, HttpRouteKey.with('/{proxy+}', HttpMethod.GET), HttpMethod.GET, {
      [aggregate]: aggregatePath(domain),
      [history]: aggregatePath(domain, history),
      ...(viewAt !== undefined && { [viewAt]: aggregatePath(domain, viewAt) }),
    });
  }
}
