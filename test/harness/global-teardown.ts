/** Ends what the global setup began. */
export { tearDown as default } from './global-setup.ts';
