/** What one check of the doctor found; with a remedy it is a fault. */
export interface Found {
  found: string;
  remedy?: string;
}
