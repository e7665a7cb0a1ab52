/** The real side: the statements and functions that workers and clients use, without a worker, so that nothing happens by itself. */
import { randomUUID } from "node:crypto"
import { expect } from "vitest"
import { type Job, type OnParentFailure, type Task, type Tusk, task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
import type { TestDatabase } from "../support/database.js"
import { isLive, type Model, type ModelJob } from "./model.js"

const QUEUE = "model"
export const PRIORITIES: readonly number[] = [1, 2]
export const SOON_DEAD = 2
const statements = statementsFor(schemaNames("tusk"), false)

const sturdy = task({ name: "sturdy", queue: QUEUE }, () => undefined)
const fragile = task({ name: "fragile", queue: QUEUE, maxCrashes: SOON_DEAD }, () => undefined)

/** Longer than any test takes, so that only `advance` makes anything due. */
const HOUR_MS = 3_600_000

/** Everything that is stored, in one snapshot. */
const ALL = `select
  (select coalesce(jsonb_agg(j), '[]') from (
     select id, state, attempt, max_attempts as "maxAttempts", crashes, pending_parents as parents, cancel_requested as cancelled, worker_id as worker,
       seq::text, lease::text from tusk.jobs
     union all
     select id, state, attempt, max_attempts, crashes, 0, false, null, null, null from tusk.finished_jobs) j) as jobs,
  (select coalesce(jsonb_agg(jsonb_build_array(child_id, parent_id, on_failure)), '[]') from tusk.job_dependencies) as edges,
  (select coalesce(jsonb_agg(jsonb_build_array(kind, key, job_id)), '[]') from tusk.keys) as keys`

export class Real {
  readonly db: TestDatabase
  readonly tusk: Tusk
  readonly workers: readonly string[] = [randomUUID(), randomUUID()]

  constructor(db: TestDatabase, tusk: Tusk) {
    this.db = db
    this.tusk = tusk
  }

  async #run<T extends object>(name: keyof typeof statements, values: readonly unknown[]): Promise<T[]> {
    return this.db.query<T>(statements[name].text, values)
  }

  async reset(): Promise<void> {
    // Few rows in many partitions: to truncate them all would take longer.
    for (const table of ["jobs", "finished_jobs", "job_dependencies", "keys", "workers", "queues"]) await this.db.query(`delete from tusk.${table}`)
  }

  enqueue(draft: {
    fragile: boolean
    priority: number
    retries: number
    delay: number
    ttl: number | undefined
    key: string | undefined
    customId: string | undefined
    edges: readonly { job: string; onFailure: OnParentFailure }[]
  }): Promise<Job> {
    const chosen: Task<[], undefined> = draft.fragile ? fragile : sturdy
    return chosen
      .with({
        via: this.tusk,
        priority: draft.priority,
        retries: draft.retries,
        dependsOn: draft.edges,
        ...(draft.delay > 0 ? { delay: `${draft.delay}h` as const } : {}),
        ...(draft.ttl === undefined ? {} : { ttl: `${draft.ttl}h` as const }),
        ...(draft.key === undefined ? {} : { deduplicate: draft.key }),
        ...(draft.customId === undefined ? {} : { id: draft.customId }),
      })
      .enqueue()
  }

  /**
   * Resolves when nobody holds a lock on a job. Postgres tells of an error before it takes the transaction back, so a call that was refused may hold its
   * parents for a moment more, and a claim would pass over them.
   */
  async unlocked(): Promise<void> {
    await this.db.query("select from tusk.jobs for update")
  }

  async register(worker: string): Promise<void> {
    await this.#run("register_worker", [worker, 20_000, 1, "host", "0", [QUEUE], ["sturdy", "fragile"], false])
  }

  async claim(worker: string, most: number): Promise<{ id: string; lease: string }[]> {
    return this.#run("claim", [QUEUE, PRIORITIES, PRIORITIES.map(() => 0), most, worker, ["sturdy", "fragile"]])
  }

  /** The ids that it took for the worker's own. */
  async settle(worker: string, outcomes: readonly { id: string; lease: string; outcome: string; delay: number }[]): Promise<string[]> {
    const [row] = await this.#run<{ settled: string[] | null }>("settle", [
      worker,
      outcomes.map((o) => o.id),
      outcomes.map((o) => o.lease),
      outcomes.map((o) => o.outcome),
      outcomes.map((o) => o.delay * HOUR_MS),
      null,
      outcomes.map((o) => (o.outcome === "failed" || o.outcome === "retry" ? '{"name":"Error","message":"no"}' : null)),
      null,
    ])
    // Null: all of them.
    return row!.settled ?? outcomes.map((o) => o.id)
  }

  /** What a worker finds that holds no more than these leases, and gives back. */
  async lostClaims(worker: string, held: readonly string[]): Promise<string[]> {
    const found = await this.#run<{ id: string; lease: string }>("lost_claims", [worker, -60_000, held])
    return this.settle(
      worker,
      found.map((job) => ({ ...job, outcome: "released", delay: 0 })),
    )
  }

  async promoteDue(): Promise<void> {
    await this.#run("promote", [500])
  }
  async expire(): Promise<void> {
    await this.#run("expire", [500])
  }
  async rescue(self: string, orphans: boolean): Promise<void> {
    await this.#run("rescue", [500, orphans, self])
  }
  async grow(worker: string): Promise<void> {
    await this.db.query("update tusk.workers set heartbeat_at = heartbeat_at - interval '1 day' where id = $1", [worker])
  }

  /** The world grows older: what is stored moves into the past. */
  async advance(hours: number): Promise<void> {
    for (const table of ["jobs", "finished_jobs"]) {
      await this.db.query(
        `update tusk.${table} set created_at = created_at - $1::interval, run_at = run_at - $1::interval, expires_at = expires_at - $1::interval`,
        [`${hours} hours`],
      )
    }
  }

  /** All that is stored must be what the model says. */
  async compare(model: Model): Promise<void> {
    const [all] = await this.db.query<{ jobs: StoredJob[]; edges: object[]; keys: object[] }>(ALL)
    const rows = all!.jobs
    const stored = new Map(rows.map((row) => [row.id, row]))
    expect(rows.length, "jobs have one row").toBe(stored.size)
    expect(rows.map(({ seq: _, lease: __, ...row }) => row).sort(byId)).toEqual(
      model.jobs
        .filter((job) => job.state !== "removed")
        .map((job) => ({
          id: job.id,
          state: job.state,
          attempt: job.attempt,
          maxAttempts: job.maxAttempts,
          crashes: job.crashes,
          parents: job.edges.length,
          cancelled: isLive(job) && job.cancelled,
          worker: job.worker ?? null,
        }))
        .sort(byId),
    )
    expect(all!.edges.map(asText).sort()).toEqual(
      model.jobs.flatMap((job) => job.edges.map((edge) => asText([job.id, edge.parent.id, edge.policy]))).sort(),
    )
    const owners = (kind: string, map: ReadonlyMap<string, ModelJob>) => [...map].map(([key, { id }]) => asText([kind, key, id]))
    expect(all!.keys.map(asText).sort()).toEqual([...owners("key", model.keys), ...owners("id", model.customIds)].sort())
    this.#learnPlaces(model, stored)
  }

  /** Places in the lanes are the database's; a job that became claimable anew stands behind all others, one that went back where it was. */
  #learnPlaces(model: Model, stored: ReadonlyMap<string, StoredJob>): void {
    const highest = Math.max(0, ...model.jobs.map((job) => job.seq))
    for (const job of model.jobs) {
      const row = stored.get(job.id)
      if (row?.seq == null) continue
      const seq = Number(row.seq)
      if (!job.fresh) expect(seq, `the place of ${job.id}`).toBe(job.seq)
      else expect(seq, `the new place of ${job.id}`).toBeGreaterThan(highest)
      Object.assign(job, { seq, fresh: false, lease: row.lease ?? undefined })
    }
  }
}

interface StoredJob {
  readonly id: string
  readonly state: string
  readonly seq: string | null
  readonly lease: string | null
}

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1)
const asText = (row: object): string => JSON.stringify(row)
