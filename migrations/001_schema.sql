-- rowcast: the schema, what was applied, and what is watched.
-- Runs by itself (psql -f) and by `rowcast migrate`; again and again without harm; by several at once.
-- Needs PostgreSQL 13 or later and CREATE on the database; no superuser.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

create schema if not exists rowcast;
comment on schema rowcast is
  'rowcast: captures committed row changes of watched tables and pushes them to subscribers. Call rowcast.watch(table) to begin; migrations/uninstall/uninstall.sql removes everything.';

create table if not exists rowcast.migration (
  name       text primary key,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table rowcast.migration is 'The migration files that were applied here, by psql or by rowcast migrate.';

create table if not exists rowcast.install (
  one        boolean primary key default true check (one),
  token      text not null default encode(uuid_send(gen_random_uuid()), 'hex'),
  pruned_xid xid8 not null default '0',
  version    text
);
do $$
begin
  if not exists (select from pg_attribute where attrelid = 'rowcast.install'::regclass and attname = 'version') then
    alter table rowcast.install add column version text;
  end if;
end $$;
insert into rowcast.install default values on conflict do nothing;
update rowcast.install set version = '0.1.0' where version is distinct from '0.1.0';
comment on table rowcast.install is 'One row about this installation of the log.';
comment on column rowcast.install.token is 'Part of the stream that a cursor belongs to: cursors of an earlier installation are told apart by it.';
comment on column rowcast.install.version is 'The version of rowcast whose migrations were applied last: an older one does not put its own in their place.';
comment on column rowcast.install.pruned_xid is 'The newest transaction whose changes rowcast.prune removed from the log.';

create table if not exists rowcast.relation (
  relation       regclass primary key,
  columns        text[],
  column_numbers int2[],
  key            text[] not null,
  key_numbers    int2[] not null,
  numbered       oid not null,
  access         text not null check (access in ('public', 'authenticated', 'scoped')),
  scope          jsonb,
  since          xid8 not null,
  shape          jsonb
);
do $$
begin
  if not exists (select from pg_attribute where attrelid = 'rowcast.relation'::regclass and attname = 'shape') then
    alter table rowcast.relation add column shape jsonb;
  end if;
end $$;
comment on table rowcast.relation is 'The tables that rowcast.watch was called for, with their settings. Read rowcast.watched instead.';
comment on column rowcast.relation.columns is 'The columns that are published, by their names when watch was called; null: all of them, later ones too.';
comment on column rowcast.relation.column_numbers is 'The same by attribute number, which a rename leaves alone.';
comment on column rowcast.relation.numbered is 'The table that the numbers were read from: not this one after a dump and restore, then the names count.';
comment on column rowcast.relation.shape is 'The table as it was when watch was called, to tell what was altered since: {"table": its name, "columns": [[number, name, type], …]}; null where an earlier version watched it.';
comment on column rowcast.relation.since is 'The transaction that began watching, or took columns away: what a cursor from before it missed cannot be had.';

insert into rowcast.migration (name) values ('001_schema') on conflict do nothing;
commit;
