/**
 * Finds jobs by filter, live and finished alike, in the order of their creation (ids are time-ordered).
 *
 * Loaded when somebody first searches: Kysely takes longer to load than all the rest, and most processes never need it.
 */
import { type Expression, type ExpressionBuilder, type SqlBool, sql } from "kysely"
import type { JobState } from "../api/events.js"
import type { JobPage } from "../api/queue.js"
import { kyselyOver } from "../postgres/run/kysely.js"
import { executorOn, type Runner } from "../postgres/run/pool.js"
import type { DB } from "../postgres/statements/schema.js"
import { type CheckedFilter, END_STATES, LIVE_STATES } from "./filter.js"
import { type SnapshotRow, snapshotOf } from "./snapshot.js"

type Source = "jobs" | "finished_jobs"

/** The conditions of a filter on one of the two tables. */
function conditionsOf(filter: CheckedFilter, states: readonly JobState[]): (eb: ExpressionBuilder<DB, Source>) => Expression<SqlBool> {
  return (eb) => {
    const all: Expression<SqlBool>[] = [eb("state", "in", states as JobState[])]
    if (filter.queue !== undefined) all.push(eb("queue", "=", filter.queue))
    if (filter.task !== undefined) all.push(eb("task", "=", filter.task))
    if (filter.args !== undefined) all.push(sql<SqlBool>`args @> ${filter.args}::jsonb`)
    if (filter.since !== undefined) all.push(eb("created_at", ">=", filter.since))
    if (filter.until !== undefined) all.push(eb("created_at", "<=", filter.until))
    if (filter.text !== undefined) {
      const plain = likeOf(filter.text)
      // Inside of JSON a quotation mark, say, stands with its escape.
      const inJson = likeOf(JSON.stringify(filter.text).slice(1, -1))
      all.push(sql<SqlBool>`(id::text ilike ${plain} or task ilike ${plain} or args::text ilike ${inJson} or error::text ilike ${inJson})`)
    }
    if (filter.after !== undefined) all.push(eb("id", filter.oldestFirst ? ">" : "<", filter.after))
    return eb.and(all)
  }
}

/** A pattern for what contains the text, whatever signs of patterns stand in it. */
function likeOf(text: string): string {
  return `%${text.replace(/[\\%_]/g, (c) => `\\${c}`)}%`
}

/** One page of jobs. One statement, so one snapshot: a job that ends meanwhile stands in it once. */
export async function searchJobs(runner: Runner, schema: string, filter: CheckedFilter): Promise<JobPage> {
  const db = kyselyOver(executorOn(runner)).withSchema(schema)
  const order = filter.oldestFirst ? "asc" : "desc"
  const part = (source: Source, states: readonly JobState[]) => {
    const finished = source === "finished_jobs"
    const waitingFor = finished
      ? sql`null::uuid[]`
      : sql`(select array_agg(d.parent_id) from ${sql.table(`${schema}.job_dependencies`)} d where d.child_id = id)`
    return db
      .selectFrom(source as "finished_jobs")
      .select(["id", "task", "queue", "state", "priority", "attempt", "max_attempts", "attempts", "progress", "created_at", "run_at", "expires_at"])
      .select(["started_at", "error", "custom_id", "headers", "worker_id", "parents"])
      .select([sql<string>`args::text`.as("args"), sql<string | null>`${finished ? sql`result::text` : sql`null::text`}`.as("result")])
      .select(sql<Date | null>`${finished ? sql`finished_at` : sql`null::timestamptz`}`.as("finished_at"))
      .select(sql<string[] | null>`${waitingFor}`.as("waiting_for"))
      .where(conditionsOf(filter, states) as never)
      .orderBy("id", order)
      .limit(filter.limit + 1)
  }
  const parts = (
    [
      ["jobs", LIVE_STATES.filter((state) => filter.states.includes(state))],
      ["finished_jobs", END_STATES.filter((state) => filter.states.includes(state))],
    ] as const
  ).filter(([, states]) => states.length > 0)
  if (parts.length === 0) return { jobs: [], next: null }
  const all = sql.join(
    parts.map(([source, states]) => sql`select * from ${part(source, states)} p`),
    sql` union all `,
  )
  const { rows } = await sql<SnapshotRow>`${all} order by id ${sql.raw(order)} limit ${filter.limit + 1}`.execute(db)
  const page = rows.slice(0, filter.limit)
  return { jobs: page.map((row) => snapshotOf(row)), next: rows.length > filter.limit ? page.at(-1)!.id : null }
}

/** A place in the order of finish: microseconds since 1970, and the id. */
export interface Finish {
  readonly at: string
  readonly id: string
}

/** At most `most` jobs of one table, for bulk actions. Finished ones in the order of their finish, live ones in that of their creation. */
export async function findIds(
  runner: Runner,
  schema: string,
  source: Source,
  filter: CheckedFilter,
  most: number,
  finished: { before?: Date; after?: Finish | undefined } = {},
): Promise<Finish[]> {
  const db = kyselyOver(executorOn(runner)).withSchema(schema)
  const states = (source === "jobs" ? LIVE_STATES : END_STATES).filter((state) => filter.states.includes(state))
  if (states.length === 0) return []
  const ofFinish = source === "finished_jobs"
  let query = db
    .selectFrom(source as "finished_jobs")
    .select(["id", (ofFinish ? sql<string>`(extract(epoch from finished_at) * 1000000)::bigint::text` : sql<string>`''`).as("at")])
    .where(conditionsOf(filter, states) as never)
    .limit(most)
  if (ofFinish) {
    const { before, after } = finished
    query = query.orderBy("finished_at").orderBy("id")
    if (before !== undefined) query = query.where("finished_at", "<=", before)
    if (after !== undefined)
      query = query.where(
        sql<SqlBool>`(finished_at, id) > ('epoch'::timestamptz + ${after.at}::bigint * interval '1 microsecond', ${after.id}::uuid)`,
      )
  } else query = query.orderBy("id")
  return query.execute()
}

/** How many a bulk action on the filter would touch. */
export async function countJobs(runner: Runner, schema: string, source: Source, filter: CheckedFilter): Promise<number> {
  const db = kyselyOver(executorOn(runner)).withSchema(schema)
  const states = (source === "jobs" ? LIVE_STATES : END_STATES).filter((state) => filter.states.includes(state))
  const row = await db
    .selectFrom(source as "finished_jobs")
    .select(sql<string>`count(*)`.as("n"))
    .where(conditionsOf(filter, states) as never)
    .executeTakeFirstOrThrow()
  return Number(row.n)
}
