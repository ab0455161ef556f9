/** What PostgreSQL was asked, by its own log of statements. */

/** Settings of a server whose log this reads. A database is logged when its `log_statement` is `all`. */
export const LOG_SETTINGS = { log_line_prefix: '<%a> ' };

/** A statement as it was sent, by the application that sent it: several in one message are one. */
export interface Statement {
  readonly by: string;
  readonly sql: string;
}

const STATEMENT = /^<([^>]*)> LOG: {2}(?:statement|execute [^:]*): (.*)$/;

/** The statement that a line of the log begins; undefined for other lines. */
export function statementOf(line: string): Statement | undefined {
  const [, by, sql] = STATEMENT.exec(line) ?? [];
  return by === undefined || sql === undefined ? undefined : { by, sql };
}
