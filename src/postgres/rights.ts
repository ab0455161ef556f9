/**
 * The rights of a role: what a service needs, what the owner alone may do, and the SQL that grants it.
 *
 * A service needs to read what is in schema rowcast, to call its functions, and to read the watched tables for
 * snapshots. What changes rowcast or a table's triggers takes their owners.
 */
import pg from 'pg';
import { StartError } from '../start-error.ts';

/** What a role may not do, in words, and what mends all of it. */
export interface Lack {
  readonly role: string;
  readonly lacking: readonly string[];
  /** Who grants it, and the statements. */
  readonly remedy: string;
}

interface OwnLack extends Lack {
  /** It is but the right to prune, which others may do, to carry messages, or to keep presence. */
  readonly canServe: boolean;
}

interface OwnRow {
  role: string;
  owner: string;
  enters: boolean;
  unread: string[];
  uncalled: string[];
}

/** Names come quoted where SQL needs it. No row where the schema is not there. */
const OWN = `
  select quote_ident(current_user) as role, n.nspowner::regrole::text as owner,
         has_schema_privilege(n.oid, 'usage') as enters,
         array(select c.oid::regclass::text from pg_class c
                where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v') and not c.relispartition
                  and not has_table_privilege(c.oid, 'select') order by 1) as unread,
         array(select p.oid::regprocedure::text from pg_proc p
                where p.pronamespace = n.oid and p.proname in ('prune', 'slot_bytes', 'current_names', 'relay', 'announce', 'enroll', 'attend', 'forget_absent')
                  and not has_function_privilege(p.oid, 'execute') order by 1) as uncalled
    from pg_namespace n where n.nspname = 'rowcast'`;

/** What the role of this connection lacks in schema rowcast; null where it lacks nothing, or there is no schema. */
export async function lackOfOwn(client: pg.ClientBase): Promise<OwnLack | null> {
  const [row] = (await client.query<OwnRow>(OWN)).rows;
  if (row === undefined) return null;
  const { role, owner, enters, unread, uncalled } = row;
  const lacking: string[] = [];
  const grants: string[] = [];
  if (!enters) {
    lacking.push('use schema rowcast');
    grants.push(`grant usage on schema rowcast to ${role}`);
  }
  if (unread.length > 0) {
    lacking.push(`read ${unread.join(', ')}`);
    grants.push(`grant select on all tables in schema rowcast to ${role}`);
  }
  if (uncalled.length > 0) {
    lacking.push(`call ${uncalled.join(', ')}`);
    grants.push(`grant execute on function ${uncalled.join(', ')} to ${role}`);
  }
  if (lacking.length === 0) return null;
  return {
    role,
    lacking,
    remedy: `as ${owner}, who owns schema rowcast, run: ${grants.join('; ')}`,
    canServe:
      enters &&
      unread.length === 0 &&
      uncalled.every((name) => /\b(prune|relay|announce|enroll|attend|forget_absent)\(/.test(name)),
  };
}

/** Throws a `StartError` with the grants where the role cannot read what rowcast keeps. */
export async function requireRights(client: pg.ClientBase): Promise<void> {
  const lack = await lackOfOwn(client);
  if (lack === null || lack.canServe) return;
  throw new StartError(`the role ${lack.role} may not ${lack.lacking.join(', nor ')}; ${lack.remedy}`);
}

interface TableRow {
  role: string;
  table: string;
  schema: string;
  owner: string;
  enters: boolean;
}

/** The right on columns alone does not do: a snapshot locks its table before it takes its moment. */
const TABLES = `
  select quote_ident(current_user) as role, w."table"::text as "table", quote_ident(n.nspname) as schema,
         c.relowner::regrole::text as owner, has_schema_privilege(n.oid, 'usage') as enters
    from rowcast.watched w join pg_class c on c.oid = w."table" join pg_namespace n on n.oid = c.relnamespace
   where not has_schema_privilege(n.oid, 'usage')
      or not has_table_privilege(c.oid, 'select')
   order by 2`;

/** The watched tables of which the role of this connection cannot make snapshots; null where it can of all. */
export async function lackOfTables(client: pg.ClientBase): Promise<Lack | null> {
  const { rows } = await client.query<TableRow>(TABLES);
  const [first] = rows;
  if (first === undefined) return null;
  const { role } = first;
  const schemas = new Set(rows.filter(({ enters }) => !enters).map(({ schema }) => schema));
  const tables = rows.map(({ table }) => table).join(', ');
  const owners = [...new Set(rows.map(({ owner }) => owner))].join(', ');
  const grants = [
    ...(schemas.size > 0 ? [`grant usage on schema ${[...schemas].join(', ')} to ${role}`] : []),
    `grant select on ${tables} to ${role}`,
  ];
  return {
    role,
    lacking: [`read ${tables}`],
    remedy: `as the owner (${owners}), run: ${grants.join('; ')}`,
  };
}

/** Whether PostgreSQL said that the role may not. */
function isForbidden(error: unknown): boolean {
  if (error instanceof StartError) return isForbidden(error.cause);
  return error instanceof pg.DatabaseError && error.code === '42501';
}

interface OwnerRow {
  what: string;
  owner: string;
  superuser: boolean;
  role: string;
}

/** Of schema rowcast and of a table, those whose owner's rights the role has not. */
const OWNERS = `
  select o.what, r.oid::regrole::text as owner, r.rolsuper as superuser, quote_ident(current_user) as role
    from (select 'schema rowcast' as what, n.nspowner as owner from pg_namespace n where n.nspname = 'rowcast'
          union all
          select 'table ' || c.oid::regclass::text, c.relowner from pg_class c where c.oid = $1::oid) o
    join pg_roles r on r.oid = o.owner
   where not pg_has_role(r.oid, 'usage')`;

/** Who may change rowcast, and the triggers of a table; null where the role of this connection may. */
async function ownersRemedy(client: pg.ClientBase, table: string | null): Promise<string | null> {
  const { rows } = await client.query<OwnerRow>(OWNERS, [table]);
  const [first] = rows;
  if (first === undefined) return null;
  const owners = [...new Set(rows.map(({ owner }) => owner))];
  const owned = rows.map(({ what, owner }) => `${what} belongs to ${owner}`).join(', ');
  const who = owners.length === 1 ? owners[0] : 'a role with the rights of both';
  const grant = rows.some(({ superuser }) => superuser)
    ? ''
    : `, or as a superuser: grant ${owners.join(', ')} to ${first.role}`;
  return `${owned}: run this as ${who}${grant}`;
}

/** Who lets the role make the schema; null where the role may, or the schema is there. */
async function createRemedy(client: pg.ClientBase): Promise<string | null> {
  const { rows } = await client.query<{ owner: string; grant: string }>(
    `select datdba::regrole::text as owner, format('grant create on database %I to %I', datname, current_user) as grant
       from pg_database
      where datname = current_database() and not has_database_privilege(oid, 'create')
        and not exists (select from pg_namespace where nspname = 'rowcast')`,
  );
  return rows[0] ? `as ${rows[0].owner}, who owns the database, run: ${rows[0].grant}` : null;
}

/**
 * Does what takes the rights of an owner. Where PostgreSQL refuses it for want of them, throws a `StartError` that
 * says who may. `table` is the oid of the table concerned.
 */
export async function asOwner<T>(
  client: pg.ClientBase,
  work: () => Promise<T>,
  table: string | null = null,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const remedy = (await ownersRemedy(client, table)) ?? (await createRemedy(client));
    if (remedy === null) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartError(`${reason}; ${remedy}`, { cause: error });
  }
}
