import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Loading aws-cdk-lib and one synthesis of either stage, on a busy two-core machine.
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
