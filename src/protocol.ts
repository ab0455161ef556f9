/**
 * The wire protocol `rowcast.v1` (PROTOCOL.md): every frame, every code, the way
 * from a client's text to a frame and from a frame to text.
 *
 * The words, the same in SQL, code and documents:
 *   change    one row inserted, updated or deleted, or a table truncated, as committed
 *   commit    all watched changes of one transaction: one row of the log, one NOTIFY
 *   log       the table `rowcast.log`: the truth; a NOTIFY is only the fast way to hear of it
 *   position  the set of commits already processed
 *   cursor    a position written as an opaque string for clients
 *   feed      the ordered stream of commits inside an instance
 *   topic     the canonical string that a client subscribed to
 *   session   one client connection
 *   hub       topics, sessions, channels
 *   stream    what a cursor belongs to: database system identifier and timeline
 *
 * It depends on nothing, so the browser's client can stand on it.
 */

export const PROTOCOL_NAME = 'rowcast.v1';
export const PROTOCOL_VERSION = 1;

export * from './protocol/client-frame.ts';
export * from './protocol/codes.ts';
export * from './protocol/server-frame.ts';
