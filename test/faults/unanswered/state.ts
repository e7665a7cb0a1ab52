/** All that is stored, without what differs between two runs of the same calls: ids become places in the order of their making, instants whether there are any. */
import type { TestDatabase } from "../../support/database.js"

const TABLES = ["jobs", "finished_jobs", "keys", "job_dependencies", "queues", "schedules", "tasks", "workers"]
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
const INSTANT = /\d{4}-\d\d-\d\d(?:T|\\?\s)\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d(?::\d\d)?)?/g
/** Of sequences, which a repeat moves on without harm. */
const NUMBERS = ["seq", "lease"]

export async function worldOf(db: TestDatabase): Promise<Record<string, string[]>> {
  const rows = new Map<string, Record<string, unknown>[]>()
  for (const table of TABLES) {
    const found = await db.query<{ row: Record<string, unknown> }>(`select to_jsonb(t) as row from tusk.${table} t`)
    rows.set(
      table,
      found.map(({ row }) => row),
    )
  }
  // By the value of their argument and not by their id: a repeat may have made its own ids.
  const names = new Map<string, string>()
  for (const table of ["jobs", "finished_jobs"]) {
    const sorted = rows.get(table)!.map((row) => ({ id: String(row["id"]), key: JSON.stringify([row["task"], row["args"]]) }))
    for (const { id } of sorted.sort((a, b) => (a.key + a.id < b.key + b.id ? -1 : 1))) names.set(id, `job ${names.size}`)
  }
  return Object.fromEntries(
    [...rows].map(([table, list]) => [
      table,
      list
        .map((row) => {
          for (const name of NUMBERS) if (row[name] != null) row[name] = "some"
          return JSON.stringify(row)
            .replace(UUID, (id) => names.get(id) ?? "an id")
            .replace(INSTANT, "an instant")
        })
        .sort(),
    ]),
  )
}

export async function clear(db: TestDatabase): Promise<void> {
  for (const table of [...TABLES, "subscribers"]) await db.query(`delete from tusk.${table}`)
  await db.query("select tusk.partitions()")
}
