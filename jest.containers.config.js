/** The tests that need a Docker engine: one after the other, on the image that the setup builds. */
import base from './jest.config.js';

export default {
  ...base,
  roots: ['<rootDir>/test/containers'],
  testPathIgnorePatterns: [],
  globalSetup: '<rootDir>/test/containers/setup.ts',
  globalTeardown: undefined,
  testTimeout: 600_000,
  maxWorkers: 1,
  reporters: ['default'],
};
