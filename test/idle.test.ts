/** What a fleet asks of PostgreSQL while nothing is committed, as PostgreSQL's own log of statements has it. */
import { expect, it } from '@jest/globals';
import { startPostgres } from '../src/dev/postgres.ts';
import { queriesOf } from './harness/database.ts';
import { until } from './harness/facts.ts';
import { type Instance, startInstance } from './harness/instance.ts';
import { applyMigrations } from './harness/migrations.ts';

const CHECKS = 3;
const STATEMENT = /^<([^>]*)> LOG: {2}(?:statement|execute [^:]*): (.*)$/;

it('asks nothing but its health checks', async () => {
  const log: { by: string; sql: string }[] = [];
  const postgres = await startPostgres({
    settings: { log_statement: 'all', log_line_prefix: '<%a> ' },
    onLog(line) {
      const [, by, sql] = STATEMENT.exec(line) ?? [];
      if (by !== undefined && sql !== undefined) log.push({ by, sql });
    },
  });
  const { query, end } = queriesOf(postgres.url);
  const instances: Instance[] = [];

  /** How many statements were begun before. */
  async function mark(name: string): Promise<number> {
    const sql = `select '${name}'`;
    await query(sql);
    return until(() => log.findIndex((one) => one.sql === sql) + 1 || false, { what: `the log has ${name}` });
  }

  try {
    await applyMigrations(postgres.url);
    await query(`create table item (id int primary key); select rowcast.watch('item', access => 'public')`);
    for (let n = 0; n < 3; n++) instances.push(await startInstance(postgres.url));
    await instances[0]?.observed.next('feed.read', ({ reason }) => reason === 'calm');
    await query('insert into item (id) values (1)');
    // What was heard is folded into a snapshot once.
    for (const { observed } of instances)
      await observed.next('feed.read', ({ reason }) => reason === 'confirm');

    const from = await mark('idle');
    const seen = instances.map(({ observed }) => observed.since());
    const checks = () => seen.map(({ all }) => all.filter(({ type }) => type === 'listener.checked').length);
    await until(() => Math.min(...checks()) >= CHECKS, { timeoutMs: 20_000, what: 'each was checked' });
    const checked = checks().reduce((sum, n) => sum + n, 0);
    const asked = log.slice(from, (await mark('no longer')) - 1).filter(({ by }) => by.startsWith('rowcast'));

    const count = (name: string) => asked.filter(({ by }) => by === name).length;
    // One may be on its way.
    expect(count('rowcast listener') - checked).toBeLessThanOrEqual(instances.length);
    expect(count('rowcast listener')).toBeGreaterThanOrEqual(checked);
    // Of all three, one leads; the others wait, and say nothing.
    expect(count('rowcast leader')).toBeLessThanOrEqual(CHECKS + 1);
    expect(new Set(asked.filter(({ by }) => by === 'rowcast leader').map(({ sql }) => sql))).toEqual(
      new Set(['select 1']),
    );
    expect(asked.filter(({ by }) => by !== 'rowcast listener' && by !== 'rowcast leader')).toEqual([]);
  } finally {
    for (const instance of instances) await instance.stop();
    await end();
    await postgres.dispose();
  }
});
