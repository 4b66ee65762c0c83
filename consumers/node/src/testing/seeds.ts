/** The variable that selects one seed, to repeat a failure. */
const SEED_VARIABLE = 'MILLRACE_SEED';

/**
 * Runs a test with the seeds from 1 to `count`, one after the other. If the environment variable `MILLRACE_SEED` is
 * set, it runs only this seed.
 *
 * @throws Error that names the seed; its `cause` is the error of the test.
 */
export async function forEachSeed(count: number, test: (seed: number) => Promise<void>): Promise<void> {
  const only = process.env[SEED_VARIABLE];
  const seeds = only === undefined ? Array.from({ length: count }, (_, index) => index + 1) : [Number(only)];
  for (const seed of seeds) {
    try {
      await test(seed);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`Seed ${seed} failed; repeat it alone with ${SEED_VARIABLE}=${seed}: ${reason}`, { cause });
    }
  }
}
