/** The stack that README.md and docs/subscribing.md show, between the two marks. */
import { App, Stack } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as sns from 'aws-cdk-lib/aws-sns';
import { DomainStreamReference, PositionTable, Subscriber } from 'millrace-infra';

/** Creates the stack. `folder` contains the function's code. */
export function sample(folder: string): Stack {
  return new (class extends Stack {
    constructor() {
      super(new App({ context: {} }), 'Notifier');
      const streamArn = 'arn:aws:kinesis:eu-north-1:111122223333:stream/Millrace';
      const topic = new sns.Topic(this, 'Topic');

      // The shown lines begin here.
      const positions = new PositionTable(this, 'Positions');
      const handler = new lambda.Function(this, 'Function', {
        runtime: lambda.Runtime.PYTHON_3_12,
        handler: 'app.handler',
        code: lambda.Code.fromAsset(folder),
        environment: { POSITIONS_TABLE: positions.tableName },
      });
      positions.grantConsume(handler);

      const subscriber = new Subscriber(this, 'Subscriber', {
        stream: DomainStreamReference.fromAttributes(this, 'DomainStream', { streamArn, retentionHours: 168 }),
        handler,
      });
      subscriber.notify(topic);
      // The shown lines end here.
    }
  })();
}
