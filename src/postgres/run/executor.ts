/** What a statement gave back. */
export interface QueryOutcome<T = Record<string, unknown>> {
  rows: T[]
  /** Rows returned or changed; null where the client does not say. */
  rowCount: number | null
}

/** Runs SQL on one connection or in one transaction that is somebody else's: it begins, commits and closes nothing. */
export interface Executor {
  /**
   * One statement with `$1`, `$2`, … for strings, numbers, booleans and null (undefined counts as null). Cast JSON as `$1::text::jsonb`: some
   * clients encode a string that is bound to json a second time. Name result columns with one lower-case word: some rename the others.
   * Errors of the database come as the client throws them; `sqlStateOf` finds their SQLSTATE.
   */
  query<T = Record<string, unknown>>(text: string, params: readonly unknown[]): Promise<QueryOutcome<T>>
}
