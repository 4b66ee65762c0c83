/** The documentation shows stacks that compile, and the one of README.md can be synthesised. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { Notifier } from './subscriber-sample.ts';

const HERE = import.meta.dirname;

/** The blocks of TypeScript on a page that use the package. */
function blocks(page: string): string[] {
  const text = readFileSync(join(HERE, page), 'utf8');
  const found = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block]) => block!);
  return found.filter((block) => block.includes('millrace-infra') || block.includes('DomainStreamReference'));
}

/** What a block may use without importing it, by module. */
const IMPORTED = {
  'aws-cdk-lib/aws-lambda': "import * as lambda from 'aws-cdk-lib/aws-lambda';",
  'millrace-infra': "import { DomainStreamReference, PositionTable, Subscriber } from 'millrace-infra';",
};

/** A block as a module: its statements are in the constructor of a stack, with the values that it doesn't declare. */
function moduleOf(block: string): string {
  const isImport = (line: string) => line.startsWith('import ');
  const lines = block.split('\n');
  const added = Object.entries(IMPORTED).filter(([name]) => !block.includes(`from '${name}'`));
  return `${[...lines.filter(isImport), ...added.map(([, line]) => line)].join('\n')}
    import * as cdk from 'aws-cdk-lib';
    import type { ITopic } from 'aws-cdk-lib/aws-sns';
    declare const folder: string, streamArn: string, streamKeyArn: string, topic: ITopic;
    export class Example extends cdk.Stack {
      constructor() {
        super();
        ${lines.filter((line) => !isImport(line)).join('\n')}
      }
    }`;
}

/** What the compiler reports about modules in this folder. */
function diagnostics(modules: string[]): string[] {
  const config = join(HERE, '../tsconfig.json');
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(config, ts.sys.readFile).config,
    ts.sys,
    join(HERE, '..'),
  );
  const files = new Map(modules.map((text, index) => [join(HERE, `block-${index}.ts`), text]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readFile(path);
  host.getSourceFile = (path, target, ...rest) => {
    const text = files.get(path);
    return text === undefined ? getSourceFile(path, target, ...rest) : ts.createSourceFile(path, text, target);
  };
  const program = ts.createProgram([...files.keys()], { ...options, noUnusedLocals: false }, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

test('README.md shows the sample', () => {
  expect(blocks('../README.md')).toContain(readFileSync(join(HERE, 'subscriber-sample.ts'), 'utf8'));
});

test('the sample has a mapping and no warning, and its alarms have an action', () => {
  const streamArn = 'arn:aws:kinesis:eu-north-1:111122223333:stream/Millrace';
  const stack = new Notifier(new App({ context: {} }), 'Notifier', { streamArn, code: HERE });
  const template = Template.fromStack(stack);
  template.resourceCountIs('AWS::Lambda::EventSourceMapping', 1);
  template.resourceCountIs('AWS::CloudWatch::Alarm', 7);
  for (const { Properties } of Object.values(template.findResources('AWS::CloudWatch::Alarm'))) {
    expect(Properties.AlarmActions).toHaveLength(1);
  }
  Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
});

test('the blocks of docs/subscribing.md compile, and one that is wrong does not', () => {
  const shown = blocks('../../docs/subscribing.md');
  expect(shown.length).toBeGreaterThanOrEqual(2);
  const wrong = "new PositionTable(this, 'Positions', { removal: 1 });";
  expect(diagnostics([...shown, wrong].map(moduleOf))).toEqual([
    expect.stringContaining("'removal' does not exist in type 'PositionTableProps'"),
  ]);
});
