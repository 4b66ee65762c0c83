/**
 * The HTTP API of commands and queries. Each side adds its own routes.
 *
 * CORS is off: the callers are services and the backends of web applications, not browsers.
 */
import { Stack } from 'aws-cdk-lib';
import * as apigateway from 'aws-cdk-lib/aws-apigateway';
import * as apigatewayv2 from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { MillraceAlarms } from './alarms.ts';
import type { Domain } from './domain.ts';
import type { RustFunction } from './rust-function.ts';
import { removalPolicy, type Settings } from './settings.ts';

/**
 * The API's request limit. Requests above it get 429 without an invocation of a function, which bounds the
 * cost of a faulty client. An AWS account's own limit is 10,000/s with a burst of 5,000.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html
 */
const THROTTLE: apigatewayv2.ThrottleSettings = { rateLimit: 2000, burstLimit: 1000 };

export interface HttpApiProps {
  /** The stack's settings. `authorization` decides who may call the API. */
  readonly settings: Settings;
  /** The registry that gets the alarm on failed requests. */
  readonly alarms: MillraceAlarms;
  /** The domain. The API's name contains its collection. */
  readonly domain: Domain;
}

export class HttpApi extends Construct {
  readonly api: apigatewayv2.HttpApi;
  readonly stage: apigatewayv2.HttpStage;
  readonly accessLog: logs.LogGroup;
  private readonly authorizer: apigatewayv2.IHttpRouteAuthorizer;

  constructor(scope: Construct, id: string, { settings, alarms, domain }: HttpApiProps) {
    super(scope, id);

    this.authorizer =
      settings.authorization === 'iam' ? new HttpIamAuthorizer() : new apigatewayv2.HttpNoneAuthorizer();

    this.api = new apigatewayv2.HttpApi(this, 'Api', {
      // A label for the console, which distinguishes the stacks. It needn't be unique.
      apiName: `${Stack.of(this).stackName}-${domain.collection}`,
      description: 'Commands to the writer, queries to the reader',
      createDefaultStage: false,
    });

    this.accessLog = new logs.LogGroup(this, 'AccessLog', {
      retention: settings.logRetentionDays,
      removalPolicy: removalPolicy(settings),
    });

    this.stage = new apigatewayv2.HttpStage(this, 'Stage', {
      httpApi: this.api,
      stageName: '$default',
      autoDeploy: true,
      throttle: THROTTLE,
      accessLogSettings: {
        destination: new apigatewayv2.LogGroupLogDestination(this.accessLog),
        format: apigateway.AccessLogFormat.custom(
          JSON.stringify({
            requestId: '$context.requestId',
            time: '$context.requestTime',
            sourceIp: '$context.identity.sourceIp',
            caller: '$context.identity.caller',
            method: '$context.httpMethod',
            // Not the path, because it contains the aggregate's id, which must not be in a log. The route
            // shows the command or the query.
            route: '$context.routeKey',
            status: '$context.status',
            responseLength: '$context.responseLength',
            latencyMs: '$context.responseLatency',
            integrationError: '$context.integrationErrorMessage',
          }),
        ),
      },
    });

    alarms.add(this, 'ApiFails', {
      metric: this.api.metricServerError({ statistic: 'Sum' }),
      threshold: 5,
      means: 'The HTTP API returns 5xx responses.',
    });
  }

  /**
   * Sends requests that match a route to `target`, payload format 2.0, after the API's authorization. `rest`
   * matches every request that matches no other route. Each of `paths` is treated like `rest`, but the access
   * log contains its route. The keys of `paths` are names, from which the ids of the routes are made.
   */
  routes(
    id: string,
    target: RustFunction,
    rest: apigatewayv2.HttpRouteKey,
    method: apigatewayv2.HttpMethod,
    paths: Readonly<Record<string, string>>,
  ): void {
    const integration = new HttpLambdaIntegration(id, target.handler);
    const route = (routeId: string, routeKey: apigatewayv2.HttpRouteKey) =>
      new apigatewayv2.HttpRoute(this, routeId, {
        httpApi: this.api,
        routeKey,
        integration,
        authorizer: this.authorizer,
      });
    route(`${id}Route`, rest);
    for (const [name, path] of Object.entries(paths)) {
      route(`${pascalCase(name)}Route`, apigatewayv2.HttpRouteKey.with(path, method));
    }
  }
}

/** The name in the form of CDK's ids: `AddItem` for `add-item`. */
function pascalCase(name: string): string {
  return name.replace(/(?:^|-)(\w)/g, (_, first: string) => first.toUpperCase());
}
