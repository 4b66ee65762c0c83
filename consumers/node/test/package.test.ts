import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

test('the package contains the compiled modules, README and licences, and no tests', () => {
  const { stdout } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
  });
  const output = JSON.parse(stdout);
  const [{ files }] = Array.isArray(output) ? output : Object.values<any>(output);
  const paths: string[] = files.map(({ path }: { path: string }) => path);
  const others = paths.filter((path) => !/^dist\/.+\.(js|d\.ts)$/.test(path)).sort();
  assert.deepEqual(others, ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json']);
  for (const name of ['index', 'dynamodb', 'testing/index', 'types/cli']) {
    assert.ok(paths.includes(`dist/${name}.js`) && paths.includes(`dist/${name}.d.ts`), name);
  }
});

test('the package has no dependencies, and only ./dynamodb needs the AWS SDK', async () => {
  const { dependencies, peerDependenciesMeta } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));
  assert.equal(dependencies, undefined);
  assert.deepEqual(peerDependenciesMeta, { '@aws-sdk/client-dynamodb': { optional: true } });
  const modules = ['index', 'consumer', 'decode', 'positions', 'testing/index', 'testing/hostile-feed', 'types/cli'];
  for (const name of modules) {
    assert.doesNotMatch(readFileSync(`${root}/dist/${name}.js`, 'utf8'), /@aws-sdk/, name);
  }
});

test('the lock file contains no address of a registry', () => {
  assert.doesNotMatch(readFileSync(`${root}/package-lock.json`, 'utf8'), /"resolved"/);
});
