/** Puts what the tests write to the temporary folder into one folder, which is removed after the last test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * vitest calls this function before it starts the workers, which inherit the environment. At the end, it calls the
 * function that is returned.
 */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-infra-tests-'));
  process.env.TMPDIR = folder;
  return () => rmSync(folder, { recursive: true });
}
