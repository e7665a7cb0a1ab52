/** What is looked at every few seconds: numbers with a name each. */
import type pg from "pg"

export type Sample = Readonly<Record<string, number>>

/** Tables that turn over; daily partitions count as their parent. */
const TABLES = `select coalesce(p.relname, c.relname) as name,
    sum(pg_table_size(c.oid))::float as bytes, sum(pg_indexes_size(c.oid))::float as indexes,
    sum(s.n_live_tup)::float as live, sum(s.n_dead_tup)::float as dead
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_stat_all_tables s on s.relid = c.oid
  left join pg_inherits i on i.inhrelid = c.oid left join pg_class p on p.oid = i.inhparent
  where n.nspname = 'tusk' and c.relkind = 'r' and c.relname !~ '^(migration|meta)' group by 1`

/** The time between becoming claimable and being claimed, of jobs that wait for nothing else and ended just now. */
const PICKUP = `select coalesce(percentile_cont(0.5) within group (order by ms), 0)::float as p50, coalesce(percentile_cont(0.99) within group (order by ms), 0)::float as p99
  from (select extract(epoch from started_at - created_at) * 1000 as ms from tusk.finished_jobs
        where task = 'fast' and run_at is null and parents is null and finished_at > now() - make_interval(secs => $1)) f`

export async function sampleDatabase(client: pg.Client, sinceSeconds: number): Promise<Record<string, number>> {
  const sample: Record<string, number> = {}
  const { rows: tables } = await client.query(TABLES)
  let bytes = 0
  for (const { name, bytes: table, indexes, live, dead } of tables) {
    sample[`table ${name}, kB`] = table / 1024
    sample[`indexes ${name}, kB`] = indexes / 1024
    if (name === "jobs" || name === "finished_jobs") sample[`rows ${name}`] = live
    sample[`dead rows ${name}`] = dead
    bytes += table + indexes
  }
  const {
    rows: [count],
  } = await client.query(`select (select count(*) from tusk.jobs)::integer as live, (select count(*) from tusk.finished_jobs)::integer as finished,
    (select count(*) from pg_stat_activity where application_name like 'pgtusk%')::integer as connections,
    (select count(*) from pg_stat_activity where application_name like 'pgtusk%' and state = 'idle' and state_change < now() - interval '90 s')::integer as unused`)
  sample["live jobs"] = count.live
  sample["connections"] = count.connections
  sample["connections unused for 90 s"] = count.unused
  sample["bytes a stored job"] = bytes / (count.live + count.finished)
  const {
    rows: [pickup],
  } = await client.query(PICKUP, [sinceSeconds])
  sample["pickup p50, ms"] = pickup.p50
  sample["pickup p99, ms"] = pickup.p99
  return sample
}
