import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DecodeError } from '../src/read.ts';
import { generate } from '../src/types/generate.ts';
import { readSchemas } from '../src/types/schemas.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const accounts = join(root, '../../contracts/schemas');
const orders = join(root, '../../examples/orders/contracts/schemas');
const cli = join(root, 'dist/types/cli.js');
// Inside of the package, so that the generated modules find `millrace-consumer`, which is this package as it is built.
const scratch = mkdtempSync(join(root, 'generated-'));
after(() => rmSync(scratch, { recursive: true }));

/** A domain with every kind of schema that the generator supports. */
const everything = {
  type: 'object',
  description: 'Everything */ at once.',
  required: ['sequence', 'list', 'nested', 'word'],
  properties: {
    sequence: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    word: { $ref: '#/$defs/Word' },
    flag: { type: 'boolean' },
    ratio: { type: 'number', minimum: 0, maximum: 1 },
    above: { type: 'integer', exclusiveMinimum: 0, maximum: 2 ** 64 },
    list: { type: 'array', minItems: 1, maxItems: 2, items: { type: ['string', 'null'] } },
    nested: {
      type: 'object',
      required: ['id'],
      properties: { id: { type: 'string' }, deep: { $ref: '#/$defs/Word' } },
    },
    names: { type: 'object', additionalProperties: { type: 'integer' } },
    level: { enum: ['low', 'high', 3, null] },
    choice: { anyOf: [{ type: 'string', pattern: '^a/b$' }, { type: 'integer' }] },
    wrapped: { allOf: [{ type: 'object', properties: { on: { const: true } }, required: ['on'] }] },
    free: true,
    "isn't-a-name": { type: 'string', minLength: 2, maxLength: 2 },
    long: { enum: Array.from({ length: 12 }, (_, index) => `a long word number ${index}`) },
  },
  $defs: { Word: { type: 'string', pattern: '^\\w+$' } },
};

function writeFolder(name: string, files: Record<string, unknown>): string {
  const folder = join(scratch, name);
  mkdirSync(folder);
  for (const [file, content] of Object.entries(files)) {
    writeFileSync(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

const envelope = { properties: { source: { const: 'urn:millrace:tests' } } };
const schema = (type: string, version: number, content: object = {}) => ({
  $id: `urn:millrace:schema:${type}:${version}`,
  type: 'object',
  properties: {},
  ...content,
});
const variety = writeFolder('variety', {
  'envelope.json': envelope,
  'Everything.1.json': schema('Everything', 1, everything),
  'Everything.11.json': schema('Everything', 11),
  'another-thing.1.json': schema('another-thing', 1),
  'README.md': 'ignored',
});

/** Uses the generated modules as a subscriber does. The compiler checks it. */
const usage = `
import { Consumer, type EventOf, MemoryPositions } from 'millrace-consumer';
import * as accounts from './accounts.ts';
import * as orders from './orders.ts';
import * as variety from './variety.ts';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Same<E extends { id: string }, F extends { id: string }> = [E] extends [F] ? ([F] extends [E] ? true : false) : false;
export const isUnion: [
  Same<EventOf<typeof accounts.types>, accounts.DomainEvent>,
  Same<EventOf<typeof orders.types>, orders.DomainEvent>,
  Same<EventOf<typeof variety.types>, variety.DomainEvent>,
] = [true, true, true];
export const isExact: Equal<variety.Everything['level'], 'low' | 'high' | 3 | null | undefined> = true;

export function describe(event: accounts.DomainEvent): string {
  switch (event.type) {
    case 'AccountCreated':
      return event.data.currency;
    case 'BalanceCredited':
      return String(event.data.amount);
    case 'BalanceWithdrawn': {
      // @ts-expect-error Version 1 has no channel.
      event.data.channel;
      return event.version === 2 ? event.data.channel : String(event.data.amount);
    }
  }
}

export function lines(event: orders.DomainEvent): readonly orders.OrderPlacedLinesItem[] {
  return event.type === 'OrderPlaced' ? event.data.lines : [];
}

export const consumer = new Consumer({
  source: accounts.source,
  types: accounts.types,
  positions: new MemoryPositions<string>(),
  handler: (event: accounts.DomainEvent, state: { events: number } = { events: 0 }) => ({
    state: { events: state.events + 1 },
    writes: [describe(event)],
  }),
  onUndecodable: ({ reason }) => console.log(reason),
});
`;

test('the generated modules and the examples of the README compile with strict options, and the formatter accepts them', () => {
  for (const [name, folder] of Object.entries({ accounts, orders, variety })) {
    const file = join(scratch, `${name}.ts`);
    const { status, stderr } = spawnSync('node', [cli, folder, '--out', file], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  }
  writeFileSync(join(scratch, 'usage.ts'), usage);
  // The examples of the README, as the files that they import from each other.
  const examples = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)];
  for (const [index, name] of ['app.ts', 'app.test.ts', 'parts.ts'].entries()) {
    writeFileSync(join(scratch, name), examples[index]?.[1] ?? 'missing');
  }
  copyFileSync(join(scratch, 'accounts.ts'), join(scratch, 'events.ts'));
  const config = {
    extends: '../tsconfig.json',
    compilerOptions: { exactOptionalPropertyTypes: true, skipLibCheck: false },
    include: ['.'],
  };
  writeFileSync(join(scratch, 'tsconfig.json'), JSON.stringify(config));
  const compiled = spawnSync('npx', ['tsc', '--project', scratch], { cwd: root, encoding: 'utf8' });
  assert.equal(compiled.stdout, '');
  const files = ['accounts', 'orders', 'variety', 'app', 'app.test', 'parts'].map((name) =>
    join(scratch, `${name}.ts`),
  );
  const formatted = spawnSync('npx', ['biome', 'format', '--config-path', root, ...files], { encoding: 'utf8' });
  assert.equal(formatted.status, 0, formatted.stderr);
  const tested = spawnSync('node', ['--import', 'tsx', '--test', join(scratch, 'app.test.ts')], {
    encoding: 'utf8',
    // The test runner of this test would otherwise expect its own protocol.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, AWS_REGION: 'eu-central-1' },
  });
  assert.equal(tested.status, 0, tested.stdout);
});

test('the readers accept what the schema allows, and name the member that it does not allow', async () => {
  writeFileSync(join(scratch, 'readers.ts'), generate(readSchemas(variety)));
  const { types } = await import(join(scratch, 'readers.ts'));
  const read = (value: unknown) => types['Everything:1'](value, 'data');
  const least = { sequence: 1, word: 'a', list: ['x'], nested: { id: '1' } };
  const most = {
    ...least,
    flag: false,
    ratio: 0.5,
    above: Number.MAX_SAFE_INTEGER,
    list: ['x', null],
    nested: { id: '1', deep: 'b' },
    names: { any: 1, other: 2 },
    level: null,
    choice: 'a/b',
    wrapped: { on: true },
    free: [{}],
    "isn't-a-name": '🚀🚀',
    long: 'a long word number 11',
  };
  assert.deepEqual(read(least), least);
  assert.deepEqual(read(most), most);
  assert.deepEqual(read({ ...least, unknown: 1, nested: { id: '1', unknown: 2 } }), least);

  const wrong: [object, string][] = [
    [{ sequence: undefined }, 'data.sequence is not an integer from -(2^53-1) to 2^53-1'],
    [{ sequence: 1.5 }, 'data.sequence is not an integer from -(2^53-1) to 2^53-1'],
    [{ sequence: 2 ** 53 }, 'data.sequence is not an integer from -(2^53-1) to 2^53-1'],
    [{ sequence: '1' }, 'data.sequence is not an integer from -(2^53-1) to 2^53-1'],
    [{ sequence: 0 }, 'data.sequence is less than 1'],
    [{ word: 1 }, 'data.word is not a string'],
    [{ word: 'a b' }, "data.word doesn't match ^\\w+$"],
    [{ flag: 0 }, 'data.flag is not a boolean'],
    [{ flag: null }, 'data.flag is not a boolean'],
    [{ ratio: 1.5 }, 'data.ratio is more than 1'],
    [{ ratio: '1' }, 'data.ratio is not a number'],
    [{ above: 0 }, 'data.above is less than 1'],
    [{ list: {} }, 'data.list is not a list'],
    [{ list: [] }, 'data.list has less than 1 items'],
    [{ list: ['1', '2', '3'] }, 'data.list has more than 2 items'],
    [{ list: ['1', 2] }, 'data.list[1] has none of the allowed forms'],
    [{ nested: [] }, 'data.nested is not an object'],
    [{ nested: null }, 'data.nested is not an object'],
    [{ nested: {} }, 'data.nested.id is missing'],
    [{ nested: { id: '1', deep: '' } }, "data.nested.deep doesn't match ^\\w+$"],
    [{ names: { secret: 'x' } }, 'data.names.* is not an integer from -(2^53-1) to 2^53-1'],
    [{ level: 'medium' }, 'data.level is not "low" or "high" or 3 or null'],
    [{ choice: 'a' }, 'data.choice has none of the allowed forms'],
    [{ wrapped: { on: false } }, 'data.wrapped.on is not true'],
    [{ "isn't-a-name": '🚀' }, "data.isn't-a-name has less than 2 characters"],
    [{ "isn't-a-name": 'abc' }, "data.isn't-a-name has more than 2 characters"],
  ];
  for (const [change, message] of wrong) {
    const value = { ...least, ...change };
    assert.throws(
      () => read(value),
      (error) => error instanceof Error && error.name === DecodeError.name && error.message === message,
      `${JSON.stringify(change)} is not refused with: ${message}`,
    );
  }
  const { word: _, ...incomplete } = least;
  assert.throws(() => read(incomplete), /^DecodeError: data\.word is missing$/);
  // A member of Object's prototype is no member.
  assert.throws(() => types['Everything:1'](Object.create(least), 'data'), /data\.sequence is missing/);
});

suite('the command', () => {
  const run = (...args: string[]) => spawnSync('node', [cli, ...args], { encoding: 'utf8' });

  test('writes to the standard output without --out', () => {
    const { status, stdout, stderr } = run(accounts);
    assert.deepEqual([status, stderr], [0, '']);
    assert.equal(stdout, generate(readSchemas(accounts)));
    assert.match(stdout, /export interface BalanceWithdrawn2 /);
  });

  test('explains itself', () => {
    const { status, stdout } = run('--help');
    assert.equal(status, 0);
    assert.match(stdout, /^Usage: millrace-consumer-types/);
  });

  for (const args of [[], [accounts, orders], ['--unknown', accounts], [accounts, '--out']]) {
    test(`refuses the arguments ${args.map((arg) => arg.split('/').at(-1)).join(' ') || '(none)'}`, () => {
      const { status, stdout, stderr } = run(...args);
      assert.deepEqual([status, stdout], [2, '']);
      assert.match(stderr, /Usage: millrace-consumer-types/);
    });
  }

  const good = schema('Good', 1);
  const bad: [string, Record<string, unknown>, string][] = [
    ['an empty folder', {}, 'the folder has no schemas of events (TYPE.VERSION.json)'],
    ['only an envelope', { 'envelope.json': envelope }, 'the folder has no schemas of events (TYPE.VERSION.json)'],
    ['no envelope', { 'Good.1.json': good }, 'the folder has no envelope.json'],
    [
      'an envelope without a source',
      { 'envelope.json': { properties: {} }, 'Good.1.json': good },
      'envelope.json: no schema of an envelope: properties.source has no const',
    ],
    [
      'a file that is no JSON',
      { 'envelope.json': envelope, 'Bad.1.json': '{' },
      "Bad.1.json: no schema: it isn't JSON",
    ],
    ['a list', { 'envelope.json': envelope, 'Bad.1.json': [] }, 'Bad.1.json: no schema: it is no JSON object'],
    [
      'another JSON file',
      { 'envelope.json': envelope, 'Good.1.json': good, 'package.json': {} },
      'package.json: no schema of an event: its $id is not urn:millrace:schema:TYPE:VERSION',
    ],
    [
      'no properties',
      { 'envelope.json': envelope, 'Bad.1.json': { ...good, properties: undefined } },
      'Bad.1.json: no schema of an event: it describes no object with properties',
    ],
    [
      'the same $id twice',
      { 'envelope.json': envelope, 'Bad.1.json': good, 'Good.1.json': good },
      'Bad.1.json has the same $id',
    ],
    [
      'two types with one name',
      { 'envelope.json': envelope, 'Good.2.json': schema('Good', 2), 'Good2.1.json': schema('Good2', 1) },
      'its type would be named Good2, as in ',
    ],
    [
      'a keyword that is not supported',
      { 'envelope.json': envelope, 'Bad.1.json': schema('Bad', 1, { properties: { x: { not: {} } } }) },
      "Bad.1.json: at properties.x: the keyword not isn't supported",
    ],
    [
      'a reference to another file',
      { 'envelope.json': envelope, 'Bad.1.json': schema('Bad', 1, { properties: { x: { $ref: 'x.json' } } }) },
      'Bad.1.json: at properties.x: the $ref "x.json" isn\'t in the file',
    ],
    [
      'a recursive reference',
      {
        'envelope.json': envelope,
        'Bad.1.json': schema('Bad', 1, {
          properties: { x: { $ref: '#/$defs/X' } },
          $defs: { X: { type: 'array', items: { $ref: '#/$defs/X' } } },
        }),
      },
      "Bad.1.json: at properties.x.items: a recursive $ref isn't supported",
    ],
    [
      'a pattern that is no regular expression',
      {
        'envelope.json': envelope,
        'Bad.1.json': schema('Bad', 1, { properties: { x: { type: 'string', pattern: '(' } } }),
      },
      'Bad.1.json: at properties.x: the pattern is no regular expression',
    ],
  ];
  for (const [index, [name, files, message]] of bad.entries()) {
    test(`refuses ${name}`, () => {
      const folder = writeFolder(`bad-${index}`, files);
      const out = join(folder, 'events.ts');
      const { status, stderr } = run(folder, '--out', out);
      assert.ok(stderr.startsWith(`millrace-consumer-types: ${folder}`), stderr);
      assert.ok(stderr.includes(message), stderr);
      assert.equal(status, 2);
      assert.throws(() => readFileSync(out), { code: 'ENOENT' });
    });
  }

  test('refuses a folder that is missing, and a file that cannot be written', () => {
    const missing = run(join(scratch, 'missing'));
    assert.deepEqual([missing.status, missing.stdout], [2, '']);
    assert.match(missing.stderr, /missing: the folder can't be read \(ENOENT\)/);
    const unwritable = run(accounts, '--out', join(scratch, 'missing', 'events.ts'));
    assert.equal(unwritable.status, 2);
    assert.match(unwritable.stderr, /events\.ts: the file can't be written \(ENOENT\)/);
  });
});
