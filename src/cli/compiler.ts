/**
 * How soon V8 compiles what runs often. Node 20 would interpret what takes a commit to its clients for its first thousands
 * of commits, minutes at a hundred a second, and each of them takes longer for it (`npm run bench -- --only latency`).
 * Later ones have a compiler for what has run some hundred times, and not this setting. It holds for what is loaded after.
 */
import { setFlagsFromString } from 'node:v8';

/** In bytes of bytecode that a function runs until it is compiled: an eighth of what is usual. */
const BUDGET = 8_000;

if (Number.parseInt(process.versions.node, 10) < 22) setFlagsFromString(`--interrupt-budget=${BUDGET}`);
