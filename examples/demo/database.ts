/** The demo's own tables, beside those of pgtusk in the same database. */
import type { Pool } from "pg"
import type { FileRow, NoteRow, PackageRow, StoredJob, TallyRow } from "./types.js"

export async function createTables(pool: Pool): Promise<void> {
  await pool.query(`
    create schema demo;
    create table demo.files (
      path text primary key, package text not null, bytes integer not null, words integer not null, headings integer not null,
      links integer not null, sha256 text not null, next_job uuid not null, runs integer not null default 1
    );
    create table demo.tallies (path text primary key references demo.files, runs integer not null default 1);
    create table demo.packages (
      name text primary key, files integer not null, words integer not null, headings integer not null, links integer not null
    );
    create table demo.notes (job_id uuid primary key, task text not null, waited_ms integer not null, runs integer not null default 1);
  `)
}

/** Everything that the jobs left behind, in one snapshot. */
export interface Remains {
  readonly files: readonly FileRow[]
  readonly tallies: readonly TallyRow[]
  readonly packages: readonly PackageRow[]
  readonly notes: readonly NoteRow[]
  readonly jobs: readonly StoredJob[]
}

export async function readRemains(pool: Pool): Promise<Remains> {
  const client = await pool.connect()
  try {
    await client.query("begin isolation level repeatable read read only")
    const rows = async (sql: string) => (await client.query(sql)).rows
    const remains = {
      files: await rows("select path, bytes, words, headings, links, sha256, next_job, runs from demo.files"),
      tallies: await rows("select path, runs from demo.tallies"),
      packages: await rows("select name, files, words, headings, links from demo.packages"),
      notes: await rows("select job_id, runs from demo.notes"),
      // A job stands in exactly one of the two; `union all` would show one that stands in both.
      jobs: await rows(`
        select id, task, state::text, attempt from tusk.jobs
        union all
        select id, task, state::text, attempt from tusk.finished_jobs`),
    }
    await client.query("commit")
    return remains
  } finally {
    client.release()
  }
}

/** How far the work is: finished and known jobs, and jobs that nobody has begun. */
export async function readProgress(pool: Pool): Promise<{ finished: number; open: number; read: number }> {
  const { rows } = await pool.query(`
    select (select count(*)::int from tusk.finished_jobs) as finished,
           (select count(*)::int from tusk.jobs) as open,
           (select count(*)::int from demo.files) as read`)
  return rows[0]
}

/** Ids of the jobs that a worker has claimed and not finished. */
export async function heldBy(pool: Pool, workerId: string): Promise<string[]> {
  const { rows } = await pool.query("select id from tusk.jobs where state = 'active' and worker_id = $1", [workerId])
  return rows.map(({ id }) => id)
}

/** Of a killed worker's jobs: how many another worker has begun since, how many are still to be begun, and the seconds from the kill to the last start. */
export async function takenOver(
  pool: Pool,
  ids: readonly string[],
  from: string,
  since: Date,
): Promise<{ begun: number; open: number; seconds: number }> {
  // A job that the killed worker's last message finished after all is neither.
  const { rows } = await pool.query(
    `select count(*) filter (where other)::int as begun,
            count(*) filter (where live and not other)::int as open,
            coalesce(extract(epoch from max(started_at) filter (where other) - $3::timestamptz), 0)::float8 as seconds
       from (select id, started_at, true as live, worker_id is distinct from $2::uuid and state = 'active' as other from tusk.jobs
             union all
             select id, started_at, false, worker_id <> $2::uuid from tusk.finished_jobs) as job
      where id = any($1::uuid[])`,
    [ids, from, since],
  )
  return rows[0]
}

export async function databaseClock(pool: Pool): Promise<Date> {
  return (await pool.query("select clock_timestamp() as now")).rows[0].now
}
