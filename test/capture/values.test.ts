/** Values are what `to_jsonb` gives in UTC with default settings, whatever the session of the writer. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type pg from 'pg';
import { type Captured, captured } from '../harness/captured.ts';
import { createDatabase, type Database } from '../harness/database.ts';
import { serverMajor } from '../harness/suite.ts';

const DEFAULTS = `
  set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
  set extra_float_digits = 1; set lc_monetary = 'C'; set search_path = pg_catalog`;

const SESSIONS: Record<string, string> = {
  'in its defaults': 'select 1',
  'in Kathmandu': `set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'`,
  'in German': `set datestyle = 'German'; set intervalstyle = 'sql_standard'; set timezone = 'America/St_Johns'`,
  'of ISO 8601 intervals': `set intervalstyle = 'iso_8601'; set bytea_output = 'escape'; set extra_float_digits = -5`,
  'of short floats': `set extra_float_digits = -15; set intervalstyle = 'postgres_verbose'; set datestyle = 'Postgres, YMD'`,
  'of another search path': `set search_path = public, pg_catalog; set extra_float_digits = 0; set xmlbinary = 'hex'; set timezone = '+09:30'`,
};

const major = await serverMajor();
const COLUMNS: readonly (readonly [name: string, type: string, value: string])[] = [
  ['big', 'bigint', '9007199254740993'],
  ['most', 'bigint', '-9223372036854775808'],
  ['exact', 'numeric', '123456789012345678901234567890.123456789012345678901234567890'],
  ['scaled', 'numeric(10, 4)', '7'],
  ['nan', 'numeric', `'NaN'`],
  ['real', 'real', '0.1::real + 0.2::real'],
  ['double', 'float8', '0.1::float8 + 0.2::float8'],
  ['float_nan', 'float8', `'NaN'`],
  ['infinite', 'float8', `'-Infinity'`],
  ['bytes', 'bytea', `'\\x00ff5c27'::bytea`],
  ['ints', 'int[]', `'{{1,2},{3,null}}'`],
  ['based', 'int[]', `'[5:6]={1,2}'`],
  ['texts', 'text[]', `array['a "b"', null, '', E'\\n\\t\\\\', 'ü']`],
  ['times', 'timestamptz[]', `array['2026-01-02 03:04:05+09'::timestamptz]`],
  ['js', 'json', `'{"b" : 1, "a":[1.00,  null], "b":2}'`],
  ['jb', 'jsonb', `'{"b": 1.00, "a": "\\u00e9\\n"}'`],
  ['js_null', 'jsonb', `'null'`],
  ['span', 'interval', `'1 year -2 months 3 days 04:05:06.789'`],
  ['at', 'timestamptz', `'2026-07-01 12:00:00.123456+02'`],
  ['at_forever', 'timestamptz', `'infinity'`],
  ['bc', 'timestamptz', `'0044-03-15 12:00:00+00 BC'`],
  ['plain', 'timestamp', `timestamp '2026-07-01 12:00:00'`],
  ['day', 'date', `date '2026-12-31'`],
  ['clock', 'time', `'23:59:59.5'`],
  ['zoned', 'timetz', `'23:59:59+05:30'`],
  ['range', 'tstzrange', `tstzrange('2026-01-01 00:00+00', '2026-02-01 00:00+05', '[)')`],
  ['numbers', 'int4range', `'[1,5]'`],
  ['days', 'daterange', `daterange(date '2026-01-02', null)`],
  // Before 14 there are no multiranges.
  ...(major >= 14 ? [['many', 'int4multirange', `'{[1,3),[5,7)}'`] as const] : []),
  ['mood', 'mood', `'so "so"'`],
  ['pair', 'pair', `row(1, timestamptz '2026-01-01 00:00+03', '\\xff'::bytea)`],
  ['positive', 'positive', '5'],
  ['price', 'money', `'1234.5'::numeric::money`],
  ['uuid', 'uuid', `'00000000-0000-4000-8000-000000000001'`],
  ['net', 'inet', `'10.0.0.1/8'`],
  ['bits', 'varbit', `b'1011'`],
  ['padded', 'char(5)', `'ab'`],
  ['odd', 'text', `E'tab\\t newline\\n quote" back\\\\ \\u2028 \\U0001F600 \\x01'`],
  ['relation', 'regclass', `'public.kinds'`],
  ['yes', 'boolean', 'true'],
  ['nothing', 'text', 'null'],
];

let database: Database;
let log: Captured;
let reader: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  log = await captured(database);
  reader = await database.client();
  await reader.query(DEFAULTS);
  await log.writer.query(`
    create type mood as enum ('sad', 'so "so"');
    create type pair as (n int, at timestamptz, b bytea);
    create domain positive as int check (value > 0);
    create table kinds (id int primary key, ${COLUMNS.map(([name, type]) => `${name} ${type}`).join(', ')});
    create table parts (like kinds including all) partition by range (id);
    create table part partition of parts default;
    select rowcast.watch('kinds'), rowcast.watch('parts')`);
});
afterAll(async () => {
  await reader.end();
  await log.close();
  await database.drop();
});

/** The rows as they must be written. */
async function rows(table: string): Promise<string[]> {
  const { rows } = await reader.query<{ row: string }>(
    `select to_jsonb(x)::text as row from public.${table} x order by id`,
  );
  return rows.map(({ row }) => row);
}

describe('values written by a session', () => {
  it.each(Object.keys(SESSIONS))('%s', async (session) => {
    const writer = await database.client();
    await writer.query(SESSIONS[session] ?? '');
    const values = COLUMNS.map(([, , value]) => value).join(', ');
    for (const table of ['kinds', 'part']) {
      const stored = table === 'part' ? 'parts' : table;
      const quick = await log.one(() => writer.query(`insert into public.${table} values (1, ${values})`));
      const [one] = await rows(stored);
      expect(quick.texts).toEqual([`"key":{"id": 1},"new":${one}`]);
      const slow = await log.one(() =>
        writer.query(
          `delete from public.${table}; insert into public.${table} values (2, ${values}), (3, ${values})`,
        ),
      );
      const [two, three] = await rows(stored);
      expect(slow.texts).toEqual([
        `"key":{"id": 1},"old":${one}`,
        `"key":{"id": 2},"new":${two}`,
        `"key":{"id": 3},"new":${three}`,
      ]);
      const update = await log.one(() => writer.query(`update public.${table} set yes = false where id = 2`));
      expect(update.texts).toEqual([`"key":{"id": 2},"new":${(await rows(stored))[0]},"old":{"yes": true}`]);
      const gone = await log.one(() =>
        writer.query(table === 'part' ? 'truncate public.part' : 'delete from public.kinds where id = 3'),
      );
      expect(gone.texts).toContain(`"key":{"id": 3},"old":${three}`);
      await writer.query(`truncate public.${table}`);
    }
    await writer.end();
  });

  it('has every digit, and says NaN and infinity', async () => {
    const values = COLUMNS.map(([, , value]) => value).join(', ');
    const { texts } = await log.one(`insert into kinds values (9, ${values})`);
    for (const text of [
      '"big": 9007199254740993',
      '"exact": 123456789012345678901234567890.123456789012345678901234567890',
      '"scaled": 7.0000',
      '"nan": "NaN"',
      '"infinite": "-Infinity"',
      '"at": "2026-07-01T10:00:00.123456+00:00"',
      '"at_forever": "infinity"',
      '"bytes": "\\\\x00ff5c27"',
      '"double": 0.30000000000000004',
    ]) {
      expect(texts[0]).toContain(text);
    }
  });
});

describe('generated columns', () => {
  it('stored', async () => {
    await log.writer.query(`
      create table made (id int primary key, a int, twice int generated always as (a * 2) stored, n int generated always as identity);
      select rowcast.watch('made')`);
    expect(await log.changes('insert into made values (1, 5)')).toMatchObject([
      { new: { id: 1, a: 5, twice: 10, n: 1 } },
    ]);
    expect(await log.changes('update made set a = 6')).toMatchObject([
      { new: { twice: 12 }, old: { a: 5, twice: 10 } },
    ]);
  });

  it('virtual, on 18: not published, and said so', async () => {
    const { rows } = await database.query<{ version: number }>(
      `select current_setting('server_version_num')::int as version`,
    );
    if ((rows[0]?.version ?? 0) < 180000) return;
    const notices: string[] = [];
    log.writer.on('notice', ({ message }) => notices.push(message ?? ''));
    await log.writer.query(`
      create table virt (id int primary key, a int, twice int generated always as (a * 2) virtual); select rowcast.watch('virt')`);
    expect(notices).toEqual([
      expect.stringMatching(/virtual generated columns of .*virt are not published: twice/),
    ]);
    expect(await log.changes('insert into virt values (1, 5)')).toEqual([
      { op: 'insert', table: 'public.virt', key: { id: 1 }, new: { id: 1, a: 5 } },
    ]);
    expect(await log.changes('update virt set a = 6')).toMatchObject([
      { new: { id: 1, a: 6 }, old: { a: 5 } },
    ]);
    await expect(log.writer.query(`select rowcast.watch('virt', columns => '{id,twice}')`)).rejects.toThrow(
      /virtual generated/,
    );
  });
});
