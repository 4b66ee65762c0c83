/** Runs dist/app.mjs as Lambda does, in a folder without node_modules, against a server that takes DynamoDB's calls. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { source } from '../src/events.ts';

const folder = mkdtempSync(join(tmpdir(), 'subscriber-node-'));
after(() => rmSync(folder, { recursive: true }));
copyFileSync(fileURLToPath(new URL('../dist/app.mjs', import.meta.url)), join(folder, 'app.mjs'));

const tables = {
  POSITIONS_TABLE: 'positions',
  NOTIFICATIONS_TABLE: 'notifications',
  UNDECODABLE_TABLE: 'undecodable',
};
const credentials = { AWS_REGION: 'eu-central-1', AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' };
const run = `
  const { handler } = await import('./app.mjs');
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const response = await handler(JSON.parse(Buffer.concat(chunks)));
  console.log(JSON.stringify({ response }));
`;

interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}

interface Target {
  TableName: string;
  Key: object;
}

async function invoke(environment: Record<string, string>, event: unknown): Promise<Result> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', run], { cwd: folder, env: environment });
  const result: Result = { status: null, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => {
    result.stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    result.stderr += chunk;
  });
  // The process may end before it has read everything.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(event));
  result.status = await new Promise((resolve) => child.on('close', resolve));
  return result;
}

function record(position: number, content: string) {
  const data = Buffer.from(content).toString('base64');
  return { eventID: `shardId-000000000000:${position}`, kinesis: { sequenceNumber: String(position), data } };
}

function envelope(sequence: number, type: string, data: object): string {
  return JSON.stringify({
    specversion: '1.0',
    id: `a:${sequence}`,
    source,
    type,
    subject: 'a',
    time: '2026-11-20T21:03:05.123Z',
    datacontenttype: 'application/json',
    dataschema: `urn:millrace:schema:${type}:1`,
    data: { accountId: 'a', sequence, currency: 'EUR', ...data },
  });
}

test('the bundle needs nothing else, and calls the service at AWS_ENDPOINT_URL', async () => {
  const calls: { target: string; body: Record<string, unknown> }[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    calls.push({
      target: String(request.headers['x-amz-target']).replace('DynamoDB_20120810.', ''),
      body: JSON.parse(Buffer.concat(chunks).toString()),
    });
    response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const Records = [
      record(100, envelope(1, 'AccountCreated', {})),
      record(101, envelope(2, 'BalanceCredited', { amount: 10_000 })),
      record(102, 'no event'),
      record(103, envelope(3, 'BalanceWithdrawn', { amount: 1 })),
    ];
    const { status, stdout, stderr } = await invoke({ ...tables, ...credentials, AWS_ENDPOINT_URL: url }, { Records });
    assert.equal(status, 0, stderr);
    assert.deepEqual(JSON.parse(stdout.trim().split('\n').at(-1) ?? ''), { response: { batchItemFailures: [] } });

    const bodyOf = (target: string) => calls.filter((call) => call.target === target).map(({ body }) => body);
    assert.deepEqual(calls.map(({ target }) => target).sort(), ['GetItem', 'PutItem', 'TransactWriteItems']);
    assert.deepEqual(bodyOf('PutItem')[0], {
      TableName: 'undecodable',
      Item: {
        StreamId: { S: 'shardId-000000000000:102' },
        Reason: { S: 'the record is not JSON' },
        Data: { B: Buffer.from('no event').toString('base64') },
        Length: { N: '8' },
      },
    });
    const { TransactItems } = bodyOf('TransactWriteItems')[0] as { TransactItems: [{ Update: Target }, object] };
    const [position, notification] = TransactItems;
    assert.deepEqual(notification, {
      Put: {
        TableName: 'notifications',
        Item: {
          Account: { S: 'a' },
          Sequence: { N: '3' },
          Balance: { N: '9999' },
          Currency: { S: 'EUR' },
          Threshold: { N: '10000' },
        },
      },
    });
    const { TableName, Key } = position.Update;
    assert.deepEqual([TableName, Key], ['positions', { Subject: { S: 'a' } }]);
  } finally {
    server.close();
  }
});

test('the function does not start without a table', async () => {
  const { NOTIFICATIONS_TABLE: _, ...incomplete } = tables;
  const { status, stderr } = await invoke({ ...incomplete, ...credentials }, { Records: [] });
  assert.equal(status, 1);
  assert.match(stderr, /The environment variable NOTIFICATIONS_TABLE is missing/);
});
