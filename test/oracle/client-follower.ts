/** A follower of the oracle that keeps its mirror by `rowcast/client`, whose connections are broken as those of others. */
import { WebSocket } from 'ws';
import { type Client, createClient, type Live } from '../../src/client.ts';
import type { FollowerStats, Following } from './follower.ts';
import type { Random } from './random.ts';

type Row = { id: number; version: number; room: number };

export class ClientFollower implements Following {
  readonly topic: string;
  readonly stats: FollowerStats = { snapshots: 0, resumes: 0, resets: 0, commits: 0 };
  readonly socketClosed = null;
  readonly #client: Client;
  readonly #live: Live<Row>;
  #socket: WebSocket | null = null;
  failure: Error | null = null;

  constructor(topic: string, random: Random, urls: () => readonly string[]) {
    this.topic = topic;
    const onOpening = (socket: WebSocket) => {
      if (this.#socket !== null) this.stats.resumes++;
      this.#socket = socket;
    };
    /** Connects to any instance. */
    class AnyInstance extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        const all = urls();
        super(all[random.below(all.length)] ?? url, protocols);
        onOpening(this);
      }
    }
    this.#client = createClient({
      url: 'ws://127.0.0.1:9/ws',
      WebSocket: AnyInstance,
      onError: (error) => {
        this.failure ??= new Error(`${topic}: ${error}`);
      },
    });
    this.#live = this.#client.live<Row>(topic, { order: 'id' });
    this.#live.subscribe(() => this.#look());
  }

  get connected(): boolean {
    return true;
  }

  get live(): boolean {
    return this.#live.status === 'live';
  }

  get rows(): ReadonlyMap<string, Row> {
    return new Map(this.#live.rows.map((row) => [String(row.id), row]));
  }

  async connect(): Promise<boolean> {
    return true;
  }

  poll(): void {}

  drop(): void {
    this.#socket?.terminate();
  }

  async settle(): Promise<void> {
    this.#client.close();
  }

  /** At any time the rows are in order, each once. */
  #look(): void {
    this.stats.commits++;
    const { rows, status, error } = this.#live;
    if (status === 'denied') this.failure ??= new Error(`${this.topic}: ${error?.message}`);
    const wrong = rows.findIndex(({ id }, n) => n > 0 && id <= (rows[n - 1]?.id ?? 0));
    if (wrong >= 0)
      this.failure ??= new Error(`${this.topic}: out of order at ${JSON.stringify(rows[wrong])}`);
  }
}
