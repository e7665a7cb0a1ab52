/** Runs statements in somebody's connection or transaction. */
export interface Executor {
  query<T = Record<string, unknown>>(text: string, params: readonly unknown[]): Promise<{ rows: T[]; rowCount: number | null }>
}
