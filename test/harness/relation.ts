/** Oids of tables that are in no database. */

const oids = new Map<string, number>();

/** The same for the same table, and no other's. */
export function relationOf(table: string): number {
  const oid = oids.get(table) ?? 16_384 + oids.size;
  oids.set(table, oid);
  return oid;
}
