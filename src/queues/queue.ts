/** One queue: its jobs in bulk, and its settings. */

import type { Duration } from "../api/duration.js"
import { InvalidOptionError } from "../api/errors.js"
import type { JobState } from "../api/events.js"
import type { Job } from "../api/job.js"
import type { RateLimit, Retention } from "../api/options.js"
import type { Counts, JobFilter, JobPage, Queue, QueueInfo } from "../api/queue.js"
import type { JobAdmin } from "../jobs/admin.js"
import { type BulkChange, CANCELLED, cancelling, changeAll, REMOVED, RETRIED, removing, retrying } from "../jobs/bulk.js"
import { type CheckedFilter, checkFilter, END_STATES, LIVE_STATES } from "../jobs/filter.js"
import { toMilliseconds } from "../lib/duration.js"
import { describeValue } from "../lib/invalid-option.js"
import { checkBoolean, checkKeep, checkLookup, checkText, readOptions } from "../lib/option-checks.js"
import { isStorable } from "../lib/text.js"
import type { Connected, Database } from "../postgres/database.js"
import { patiently } from "../postgres/run/retry.js"
import { render } from "../postgres/statements/names.js"
import { checkLimit, checkRate } from "../task/limits.js"

/** What queues need of the rest. */
export interface QueueHost {
  readonly database: Database
  readonly admin: () => Promise<JobAdmin>
  readonly job: (id: string, task: string, queue: string) => Job
}

/** What the filters of all calls may say. */
const PARTS = ["task", "text", "args", "since", "until", "order", "limit", "after"] as const

/** How many jobs a bulk action may change at most. */
function checkAmount(limit: unknown, what: string): void {
  if (limit === undefined || (typeof limit === "number" && Number.isSafeInteger(limit) && limit > 0)) return
  throw new InvalidOptionError(`${what} got the limit ${describeValue(limit)}; write a whole number above 0`)
}

const DEAD: readonly JobState[] = ["failed", "expired"]

/**
 * Sets what is given: $2 keep, $3 concurrency and $4 rate where $5 and $6 say so. With a limit of concurrency, jobs that were claimed before there
 * was one count from now on; in the order of their ids, as everybody locks jobs, and one that is held is just ending. Twice: changes nothing more.
 */
const CONFIGURE = `with running as materialized (
  select id from {schema}.jobs where $3::integer is not null and state = 'active' and queue = $1 and not queue_limited order by id for update skip locked
), counted as (
  update {schema}.jobs j set queue_limited = true from running r where j.id = r.id
)
insert into {schema}.queues as q (name, keep, concurrency, rate_limit) values ($1, $2, $3, $4)
on conflict (name) do update set keep = coalesce(excluded.keep, q.keep), concurrency = case when $5 then excluded.concurrency else q.concurrency end,
  rate_limit = case when $6 then excluded.rate_limit else q.rate_limit end, updated_at = now()`

export class QueueAdmin implements Queue {
  readonly name: string
  readonly #host: QueueHost

  constructor(name: string, host: QueueHost) {
    this.name = checkText(name, "The name of a queue")
    this.#host = host
  }

  async job(id: string): Promise<Job | undefined> {
    if (!isStorable(checkLookup(id, `The id for job() of queue "${this.name}"`))) return undefined
    const { runner } = await this.#ready()
    const rows = await runner.run<{ id: string; task: string }>({
      text: this.#sql(`select x.id, x.task from {schema}.keys k
        cross join lateral (select id, task from {schema}.jobs where id = k.job_id union all select id, task from {schema}.finished_jobs where id = k.job_id) x
        where k.queue = $1 and k.kind = 'id' and k.key = $2 and (k.until is null or k.until > now())`),
      values: [this.name, id],
    })
    return rows[0] === undefined ? undefined : this.#host.job(rows[0].id, rows[0].task, this.name)
  }

  async pause(): Promise<void> {
    await this.#setPaused(true)
  }
  async resume(): Promise<void> {
    await this.#setPaused(false)
  }

  async info(): Promise<QueueInfo> {
    const { runner, statements } = await this.#ready()
    const [settings] = await runner.run<{ paused: boolean; workers: number }>({
      text: this.#sql(`select coalesce((select paused from {schema}.queues where name = $1), false) as paused,
        (select count(*)::integer from {schema}.workers w where w.heartbeat_at > now() - w.lease and $1 = any (w.queues)) as workers`),
      values: [this.name],
    })
    const rows = await runner.run<CountRow>({ ...statements.counts, values: [this.name] })
    return infoOf(this.name, settings!.paused, settings!.workers, rows)
  }

  async counts(): Promise<Counts> {
    const { runner, statements } = await this.#ready()
    return countsOf(await runner.run<CountRow>({ ...statements.counts, values: [this.name] }))
  }

  async jobs(filter: Omit<JobFilter, "queue"> = {}): Promise<JobPage> {
    const checked = this.#filter(filter)
    const { runner } = await this.#ready()
    const { searchJobs } = await import("../jobs/search.js")
    return searchJobs(runner, this.#host.database.names.schema, checked)
  }

  async drain(options: { delayed?: boolean } = {}): Promise<string[]> {
    const what = `Queue "${this.name}", drain()`
    const { delayed } = readOptions(options, ["delayed"], what)
    if (delayed !== undefined) checkBoolean(delayed, `${what}: delayed`)
    const filter = this.#filter({ state: delayed === true ? ["waiting", "delayed"] : ["waiting"] })
    // One that a worker takes meanwhile is its own.
    return this.#each({ source: "jobs", filter, change: removing(filter.states), made: REMOVED })
  }

  async clean(options: { state: JobState; grace?: Duration; limit?: number }): Promise<string[]> {
    const what = `Queue "${this.name}", clean()`
    const { state, grace, limit } = readOptions(options, ["state", "grace", "limit"], what)
    if (!END_STATES.includes(state))
      throw new InvalidOptionError(
        `${what} got the state ${describeValue(state)}; write one of ${END_STATES.join(", ")} (drain() removes waiting jobs)`,
      )
    checkAmount(limit, what)
    const graceMs = grace === undefined ? undefined : toMilliseconds(grace, `${what}: grace`)
    const filter = this.#filter({ state })
    return this.#each({ source: "finished_jobs", filter, change: removing([state]), made: REMOVED, limit, graceMs })
  }

  async obliterate(options: { force?: boolean } = {}): Promise<void> {
    const what = `Queue "${this.name}", obliterate()`
    const { force } = readOptions(options, ["force"], what)
    if (force !== undefined) checkBoolean(force, `${what}: force`)
    // Paused first, so that nothing more starts while it goes.
    const { paused } = await this.info()
    if (!paused) await this.pause()
    if (force !== true) {
      const { active } = await this.counts()
      if (active > 0) {
        if (!paused) await this.resume()
        throw new InvalidOptionError(`Queue "${this.name}" has ${active} running jobs; wait for them, or write obliterate({ force: true })`)
      }
    }
    await this.#set("delete from {schema}.schedules where queue = $1", [this.name])
    for (const source of ["jobs", "finished_jobs"] as const) {
      await this.#each({ source, filter: this.#filter({}), change: removing(), made: REMOVED })
    }
    await this.#set("delete from {schema}.keys where queue = $1", [this.name])
    await this.#set("delete from {schema}.queues where name = $1", [this.name])
    await this.#changed()
  }

  async deadLetters(filter: Omit<JobFilter, "queue" | "state"> = {}): Promise<JobPage> {
    return this.jobs({ ...this.#parts(filter, "deadLetters"), state: DEAD })
  }

  async redrive(filter: Omit<JobFilter, "queue" | "state"> & { preview?: boolean; rate?: number } = {}): Promise<number> {
    const what = `Queue "${this.name}", redrive()`
    const { preview, rate, limit, ...rest } = readOptions(filter, [...PARTS, "preview", "rate"], what)
    if (preview !== undefined) checkBoolean(preview, `${what}: preview`)
    if (rate !== undefined && !(typeof rate === "number" && Number.isFinite(rate) && rate > 0))
      throw new InvalidOptionError(`${what} got the rate ${describeValue(rate)}; write jobs a second, above 0`)
    checkAmount(limit, what)
    const checked = this.#filter({ ...rest, state: DEAD })
    const { runner } = await this.#ready()
    if (preview === true) {
      const { countJobs } = await import("../jobs/search.js")
      const count = await countJobs(runner, this.#host.database.names.schema, "finished_jobs", checked)
      return limit === undefined ? count : Math.min(limit, count)
    }
    return (await this.#each({ source: "finished_jobs", filter: checked, change: retrying, made: RETRIED, limit, rate })).length
  }

  async cancelAll(filter: Omit<JobFilter, "queue">): Promise<number> {
    const what = `Queue "${this.name}", cancelAll()`
    const { limit, state = LIVE_STATES, ...rest } = readOptions(filter, [...PARTS, "state"], what)
    checkAmount(limit, what)
    const checked = this.#filter({ ...rest, state })
    return (await this.#each({ source: "jobs", filter: checked, change: cancelling, made: CANCELLED, limit })).length
  }

  async owner(key: string): Promise<string | null> {
    if (!isStorable(checkLookup(key, `The key for owner() of queue "${this.name}"`))) return null
    const { runner } = await this.#ready()
    const rows = await runner.run<{ job_id: string }>({
      text: this.#sql("select job_id from {schema}.keys where queue = $1 and kind = 'key' and key = $2 and (until is null or until > now())"),
      values: [this.name, key],
    })
    return rows[0]?.job_id ?? null
  }

  async release(key: string): Promise<boolean> {
    if (!isStorable(checkLookup(key, `The key for release() of queue "${this.name}"`))) return false
    const { runner } = await this.#ready()
    const rows = await runner.run({
      text: this.#sql("delete from {schema}.keys where queue = $1 and kind = 'key' and key = $2 returning (until is null or until > now()) as held"),
      values: [this.name, key],
    })
    return rows[0]?.held === true
  }

  async configure(settings: { concurrency?: number | null; rateLimit?: RateLimit | null; keep?: Retention }): Promise<void> {
    const of = `of queue "${this.name}"`
    const { concurrency, rateLimit, keep } = readOptions(settings, ["concurrency", "rateLimit", "keep"], `configure() ${of}`)
    const kept = keep === undefined ? undefined : checkKeep(keep, `keep ${of}`)
    const limit = concurrency == null ? null : checkLimit(concurrency, `concurrency ${of}`)
    const rate = rateLimit == null ? null : checkRate(rateLimit, `rateLimit ${of}`)
    const values = [
      this.name,
      kept === undefined ? null : JSON.stringify(kept),
      limit,
      rate === null || rate.limit === null ? null : JSON.stringify(rate),
      concurrency !== undefined,
      rateLimit !== undefined,
    ]
    await this.#set(CONFIGURE, values)
    await this.#changed()
    // Once more: claims that were on their way just then have taken jobs that must count too.
    if (limit !== null) await this.#set(CONFIGURE, values)
  }

  async #each(bulk: BulkChange): Promise<string[]> {
    return changeAll(this.#host.database, await this.#host.admin(), bulk)
  }

  /** A statement that does the same however often it runs, so it is repeated when its answer was lost. */
  async #set(text: string, values: unknown[]): Promise<void> {
    const { runner } = await this.#ready()
    const options = { logger: this.#host.database.logger, what: "a setting of a queue", whether: `Whether queue "${this.name}" was changed` }
    await patiently(options, () => runner.run({ text: this.#sql(text), values }))
  }

  async #setPaused(paused: boolean): Promise<void> {
    await this.#set(
      "insert into {schema}.queues (name, paused) values ($1, $2) on conflict (name) do update set paused = excluded.paused, updated_at = now()",
      [this.name, paused],
    )
    await this.#changed()
  }

  async #changed(): Promise<void> {
    const { notifier } = await this.#ready()
    notifier.queueChanged(this.name)
    await notifier.flush()
  }

  #filter(filter: Omit<JobFilter, "queue">): CheckedFilter {
    return checkFilter({ ...this.#parts(filter, "jobs", true), queue: this.name })
  }

  #parts(filter: unknown, call: string, state = false): JobFilter {
    return readOptions(filter, state ? [...PARTS, "state"] : PARTS, `Queue "${this.name}": the filter for ${call}()`)
  }

  #ready(): Promise<Connected> {
    return this.#host.database.ready()
  }

  #sql(text: string): string {
    return render(text, this.#host.database.names)
  }
}

interface CountRow {
  readonly queue: string
  readonly state: JobState
  readonly jobs: number
  readonly oldest: Date | null
}

function countsOf(rows: readonly CountRow[]): Counts {
  const counts = Object.fromEntries([...LIVE_STATES, ...END_STATES].map((state) => [state, 0])) as Record<JobState, number>
  for (const row of rows) counts[row.state] += row.jobs
  return counts
}

function infoOf(name: string, paused: boolean, workers: number, rows: readonly CountRow[]): QueueInfo {
  return { name, paused, counts: countsOf(rows), oldestWaiting: rows.find((row) => row.oldest !== null)?.oldest ?? null, workers }
}

/** Every queue that has jobs, settings or a worker. */
export async function listQueues(database: Database): Promise<QueueInfo[]> {
  const { runner, statements } = await database.ready()
  const rows = await runner.run<CountRow>({ ...statements.counts, values: [null] })
  const settings = await runner.run<{ name: string; paused: boolean; workers: number }>({
    text: render(
      `select coalesce(q.name, w.name) as name, coalesce(q.paused, false) as paused, coalesce(w.workers, 0)::integer as workers from {schema}.queues q
       full join (select unnest(queues) as name, count(*) as workers from {schema}.workers where heartbeat_at > now() - lease group by 1) w on w.name = q.name`,
      database.names,
    ),
  })
  const known = new Map(settings.map((s) => [s.name, s]))
  const counted = new Map<string, CountRow[]>([...known.keys()].map((name) => [name, []]))
  for (const row of rows) {
    const others = counted.get(row.queue)
    if (others === undefined) counted.set(row.queue, [row])
    else others.push(row)
  }
  return [...counted.keys()].sort().map((name) => {
    const { paused = false, workers = 0 } = known.get(name) ?? {}
    return infoOf(name, paused, workers, counted.get(name)!)
  })
}
