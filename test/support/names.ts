/** Names of databases of one test run: several runs may share a server. */

/** All databases of a run begin with it. */
export function databasePrefix(runId: string): string {
  return `pgtusk_test_${runId}_`
}

/** The same server and user, another database. */
export function withDatabase(url: string, name: string): string {
  const changed = new URL(url)
  changed.pathname = `/${name}`
  return changed.href
}
