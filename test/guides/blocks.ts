/** The blocks of code in the guides. */
import { readFile } from 'node:fs/promises';

/** A fenced block; `name` is what stands after `run=` behind its language. */
interface Block {
  readonly line: number;
  readonly language: string;
  readonly name: string | undefined;
  readonly text: string;
}

/** The blocks of one page, which keeps count of those that were tried. */
export interface Guide {
  readonly text: string;
  /** The text of a block. */
  take(name: string): string;
  /** The lines at which blocks begin that nobody took. */
  untried(): number[];
}

export async function readGuide(page: string): Promise<Guide> {
  const text = await readFile(`docs/${page}.md`, 'utf8');
  const blocks = blocksOf(text);
  const taken = new Set<Block>();
  return {
    text,
    take(name) {
      const block = blocks.find((one) => one.name === name);
      if (block === undefined) throw new Error(`docs/${page}.md has no block ${name}`);
      taken.add(block);
      return block.text;
    },
    untried: () => blocks.filter((block) => !taken.has(block)).map(({ line }) => line),
  };
}

function blocksOf(markdown: string): Block[] {
  const fence = /^```(\w*)(?: run=(\S+))?\n([\s\S]*?)^```$/gm;
  return Array.from(markdown.matchAll(fence), ({ 1: language = '', 2: name, 3: text = '', index }) => ({
    line: markdown.slice(0, index).split('\n').length,
    language,
    name,
    text,
  }));
}
