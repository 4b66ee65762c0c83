import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: {
    // The example's stack uses the constructs of this folder, and its packages: tsconfig.json has the same paths.
    alias: [
      { find: /^millrace-infra$/, replacement: join(import.meta.dirname, 'lib/index.ts') },
      { find: /^(aws-cdk-lib|constructs)(\/.*)?$/, replacement: join(import.meta.dirname, 'node_modules/$1$2') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // A synthesis writes a folder that aws-cdk-lib doesn't remove.
    globalSetup: 'test/temporary-folder.ts',
    // The default leaves one processor for the terminal: on two, the tests would run one file after the other.
    maxWorkers: '100%',
    // Loading aws-cdk-lib and one synthesis of either stage, on a busy two-core machine.
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
