/** Being asked to stop. */

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
/** The interrupt key reaches us from the terminal and once more by way of `npm start`. */
const SAME_KEY_MS = 100;

/** Resolves at the first SIGINT or SIGTERM, counted from now. The second ends the process at once. */
export function stopSignal(): Promise<void> {
  let firstAt: number | undefined;
  return new Promise((resolve) => {
    function onSignal(signal: keyof typeof EXIT_CODES): void {
      if (firstAt === undefined) {
        firstAt = performance.now();
        resolve();
      } else if (signal === 'SIGTERM' || performance.now() - firstAt > SAME_KEY_MS) {
        process.exit(EXIT_CODES[signal]);
      }
    }
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}
