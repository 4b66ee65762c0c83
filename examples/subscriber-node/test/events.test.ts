import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
/** Where the publisher's schemas are. */
const schemas = fileURLToPath(new URL('../../../contracts/schemas', import.meta.url));

test('src/events.ts is what the generator writes: otherwise run npm run events', () => {
  const { status, stdout, stderr } = spawnSync('npx', ['millrace-consumer-types', schemas], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.equal(readFileSync(`${root}/src/events.ts`, 'utf8'), stdout);
});
