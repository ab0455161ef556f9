/** Where cursors are kept across page loads: what the caller hands in, such as a wrapper of `sessionStorage`. */
export interface Storage {
  get(key: string): string | null | undefined;
  set(key: string, value: string): void;
  remove(key: string): void;
}
