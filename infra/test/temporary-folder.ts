/** Puts what the tests write to the temporary folder into one folder, which is removed after the last test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** vitest calls it before the workers start, which take over the environment, and its result at the end. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-infra-tests-'));
  process.env.TMPDIR = folder;
  return () => rmSync(folder, { recursive: true });
}
