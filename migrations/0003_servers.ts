import { type Kysely, sql } from "kysely"
import { render, type SchemaNames } from "../src/postgres/statements/names.js"
import * as functions from "./0002_functions.js"

/** What logical replication finds the rows of all partitions by. */
function ofPartitions(identity: "full" | "default"): string {
  return `do $$
declare
  part regclass;
begin
  for part in select inhrelid from pg_inherits where inhparent = '{schema}.finished_jobs'::regclass order by inhrelid loop
    execute format('alter table %s replica identity ${identity}', part);
  end loop;
end
$$`
}

/** Changes to tables, in order. */
const UP: readonly string[] = [
  // The deduplication key, for a retry to take it again: its row in keys goes when the job ends.
  `alter table {schema}.jobs add column dedup_key text, add column dedup_ttl_ms double precision`,
  `alter table {schema}.finished_jobs add column dedup_key text, add column dedup_ttl_ms double precision`,
  // A table that is published must say how its rows are found on the other side, or Postgres refuses to update and delete them (55000). `for all tables`
  // publishes these too. FULL costs an insert nothing, and writes more to the log only where rows are changed while `wal_level` is `logical`; a unique
  // index would have to be built over rows that are there, and be kept by every settle.
  `alter table {schema}.meta replica identity full`,
  // An old \`partitions()\` must not add a day in between, which would lack it. Then the parent first: once it is ours, nobody holds a partition.
  `select pg_advisory_xact_lock(hashtextextended('{schema}.partitions', 7021))::text`,
  `alter table {schema}.finished_jobs replica identity full`,
  ofPartitions("full"),
  // Whether a worker may be woken on its own channel; null: by version 0.1.0, which listens on the schema's channel alone.
  "alter table {schema}.workers add column listens boolean",
]
/** What undoes them. */
const DOWN: readonly string[] = [
  `alter table {schema}.jobs drop column dedup_key, drop column dedup_ttl_ms`,
  `alter table {schema}.finished_jobs drop column dedup_key, drop column dedup_ttl_ms`,
  `alter table {schema}.finished_jobs replica identity default`,
  ofPartitions("default"),
  "alter table {schema}.workers drop column listens",
]

/**
 * What servers other than a freshly initialised one need: all functions anew, and the changes above. Workers of version 1 go on, since no function
 * changes its parameters or its result.
 */
export function up(names: SchemaNames, rendered: Readonly<Record<string, string>>): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const text of UP) await sql.raw(render(text, names)).execute(db)
    await functions.createAll(rendered)(db)
    await sql.raw(render("update {schema}.meta set version = 2", names)).execute(db)
  }
}

export function down(names: SchemaNames): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const text of DOWN) await sql.raw(render(text, names)).execute(db)
    await sql.raw(render("update {schema}.meta set version = 1", names)).execute(db)
    // Last: it is what lets the update through where the table is published.
    await sql.raw(render("alter table {schema}.meta replica identity default", names)).execute(db)
  }
}
