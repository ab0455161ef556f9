/** The tests in a real browser: `npm run test:e2e`. */
import config from './jest.config.js';

export default {
  ...config,
  roots: ['<rootDir>/test/e2e'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 120_000,
  maxWorkers: 1,
  reporters: [
    'default',
    [
      'jest-junit',
      { outputDirectory: 'reports', outputName: 'junit-e2e.xml', reportTestSuiteErrors: 'true' },
    ],
  ],
};
