/**
 * The scripted database: what the statements of a worker do, on maps, each at one instant. What the real ones do beside that (keys, flows, plans,
 * locks) is for the tests on Postgres; here the worker is what is tested.
 *
 * It also watches: what no sequence of statements of sound workers may bring about is reported as a violation.
 */
import { SCHEMA_VERSION } from "../../src/postgres/schema/schema-version.js"
import type { Random } from "../support/random.js"
import type { VirtualTime } from "./time.js"

export interface Job {
  readonly id: string
  seq: number
  readonly queue: string
  readonly priority: number
  readonly task: string
  /** Limited jobs: how many of its group may run. */
  readonly group: number | undefined
  state: "waiting" | "delayed" | "active"
  attempt: number
  maxAttempts: number
  crashes: number
  runAt: number
  expiresAt: number
  startedAt: number
  lease: number
  worker: string
  cancelled: boolean
  attempts: { attempt: number; worker: string; lost: boolean }[]
}

/** What is known of a claim of one job. */
export interface Lease {
  readonly job: string
  readonly worker: string
  /** The worker had a row then. */
  readonly known: boolean
  readonly claim: Claim
  /** The handler's last word: returned well. */
  made: boolean
  endedBy: string | undefined
  /** A crash of the server has forgotten its claim. */
  forgottenAt?: number
}

/** One claim statement. */
export interface Claim {
  /** The worker has got its answer. */
  answered: boolean
}

interface WorkerRow {
  heartbeatAt: number
  listens: boolean
  readonly queues: readonly string[]
  readonly lease: number
}

const STOCK = ['"$user", public', "ISO, MDY", "postgres", "1", "on", "on", "UTF8"]
const GROUP_LIMIT = 2
/** A result that the server refuses. */
export const POISON = "poison"
const LIMITED = 32_768
/** What does not wait for the disk, or writes nothing. */
const UNWRITTEN = new Set(["claim", "wake", "isolation", "cancelled_runs", "sweep", "settled_before", "lost_claims", "next_due"])

/** Sends to one worker, on its own channel, or to all, on the schema's. */
export type Notify = (message: readonly unknown[], worker?: string) => void

export class SimulatedDatabase {
  readonly jobs = new Map<string, Job>()
  readonly finished = new Map<string, { state: string; worker: string; attempt: number }>()
  readonly workers = new Map<string, WorkerRow>()
  readonly leases = new Map<number, Lease>()
  /** Locked by somebody just now: claims pass over them. */
  lockedShare = 0
  accepted = 0
  /** Called once, when the next claim has taken something. */
  onClaimed: (() => void) | undefined
  /** Claims since the last commit that waited for the disk: a crash forgets them. */
  readonly #unwritten = new Set<number>()
  readonly #time: VirtualTime
  readonly #random: Random
  readonly #violated: (what: string) => void
  readonly #notify: Notify
  #seq = 0
  #lease = 0

  constructor(options: { time: VirtualTime; random: Random; violated: (what: string) => void; notify: Notify }) {
    this.#time = options.time
    this.#random = options.random
    this.#violated = options.violated
    this.#notify = options.notify
  }

  nextSeq(): number {
    return ++this.#seq
  }

  /** The server crashes and recovers; what of its connections is the network's. */
  crash(): void {
    for (const number of this.#unwritten) {
      const lease = this.leases.get(number)!
      const job = this.jobs.get(lease.job)
      if (job?.state !== "active" || job.lease !== number) continue
      lease.endedBy = "crash"
      lease.forgottenAt = this.#time.now
      job.attempt--
      this.#back(job, "waiting")
    }
    this.#unwritten.clear()
    this.#lease += 1_000
  }

  insert(draft: Pick<Job, "seq" | "queue" | "priority" | "task" | "group" | "maxAttempts"> & { delayMs: number; ttlMs: number }): Job {
    this.#unwritten.clear()
    const id = `00000000-0000-7000-8000-${String(++this.accepted).padStart(12, "0")}`
    const { seq, queue, priority, task, group, maxAttempts } = draft
    const job: Job = {
      seq,
      queue,
      priority,
      task,
      group,
      maxAttempts,
      id,
      state: draft.delayMs > 0 ? "delayed" : "waiting",
      attempt: 0,
      crashes: 0,
      runAt: this.#time.now + draft.delayMs,
      expiresAt: this.#time.now + draft.ttlMs,
      startedAt: 0,
      lease: 0,
      worker: "",
      cancelled: false,
      attempts: [],
    }
    this.jobs.set(id, job)
    return job
  }

  /** By somebody else. True: it was running. */
  cancel(id: string): boolean {
    const job = this.jobs.get(id)
    if (job === undefined) return false
    this.#unwritten.clear()
    job.cancelled = true
    if (job.state !== "active") this.#finish(job, "cancelled")
    return job.state === "active"
  }

  remove(id: string): void {
    const job = this.jobs.get(id)
    if (job === undefined) return
    this.#unwritten.clear()
    this.#finish(job, "removed")
  }

  /** A worker has found that it held these without knowing it: their claims cannot have been answered. */
  forgotten(jobs: readonly string[]): void {
    for (const id of jobs) {
      const [number, lease] = [...this.leases].findLast(([, l]) => l.job === id && l.endedBy === "released")!
      if (lease.claim.answered) this.#violated(`${id} was claimed and forgotten: lease ${number} is in nobody's hands`)
    }
  }

  execute(name: string, v: readonly any[], claim: Claim): object[] {
    const statement = this.#statements[name]
    if (statement === undefined) throw new Error(`The scripted database has no answer to ${name}`)
    if (!UNWRITTEN.has(name)) this.#unwritten.clear()
    const taken = this.#lease
    const rows = statement(v, claim)
    if (name === "claim") for (let number = taken + 1; number <= this.#lease; number++) if (this.leases.has(number)) this.#unwritten.add(number)
    if (name === "claim" && rows.length > 0) {
      this.onClaimed?.()
      this.onClaimed = undefined
    }
    return rows
  }

  readonly #statements: Readonly<Record<string, (v: readonly any[], claim: Claim) => object[]>> = {
    // As Postgres ships them: see PINS in src/postgres/run/session.ts.
    isolation: () => [Object.fromEntries([["isolation", "read committed"], ...STOCK.map((value, i) => [`setting${i}`, value])])],
    publish_tasks: () => [],
    partitions: () => [],
    prune: () => [],
    progress: () => [{ subscribed: false }],
    abandon: () => [{ gone_parents: 0, ended: null, lanes: null, due_ms: null, watched: null }],
    wake: ([, lanes, due, mark, messages]) => {
      for (const [queue, priority, seq, taker, level] of JSON.parse(lanes)) this.wakeLane(queue, priority, seq, mark, taker, level)
      if (due !== null) this.wakeDue(due, mark)
      for (const message of messages) this.#notify(JSON.parse(message))
      return []
    },
    register_worker: ([id, lease, , , , queues, , listens]) => {
      this.workers.set(id, { heartbeatAt: this.#time.now, lease, listens, queues })
      return []
    },
    deregister: ([id]) => {
      this.workers.delete(id)
      for (const job of this.jobs.values())
        if (job.state === "active" && job.worker === id) this.#violated(`a worker's row goes and ${job.id} is active`)
      return []
    },
    heartbeat: ([id, , ids, leases, listens]) => {
      const row = this.workers.get(id)
      if (row === undefined) return []
      row.heartbeatAt = this.#time.now
      row.listens = listens
      const others = [...this.workers].filter(([other]) => other !== id)
      const live = others.filter(([, w]) => this.#isLive(w))
      const before = live.filter(([other, w]) => (w.listens === listens ? other < id : w.listens))
      const nextLoss = others.length === 0 ? null : Math.min(...others.map(([, w]) => w.heartbeatAt + w.lease)) - this.#time.now
      const mine = (i: number): boolean => this.#fenced(ids[i], leases[i], id) !== undefined
      const known = (ids as string[]).map((_, i) => i)
      const cancelled = known.filter((i) => mine(i) && this.jobs.get(ids[i])!.cancelled)
      const lost = known.filter((i) => !mine(i))
      const some = <T>(list: number[], pick: (i: number) => T): T[] | null => (list.length === 0 ? null : list.map(pick))
      return [
        {
          cancelled: some(cancelled, (i) => ids[i]),
          lost: some(lost, (i) => i + 1),
          versions: [SCHEMA_VERSION, SCHEMA_VERSION],
          fleet: [before.length, live.length, nextLoss],
        },
      ]
    },
    cancelled_runs: ([ids, leases, worker]) =>
      (ids as string[]).flatMap<object>((id, i) => {
        const job = this.#fenced(id, leases[i], worker)
        if (job === undefined) return [{ id, reason: null, gone: true }]
        return job.cancelled ? [{ id, reason: "cancelled", gone: false }] : []
      }),
    claim: ([queue, priorities, cursors, limit, worker], claim) => {
      const taken: Job[] = []
      const lease = ++this.#lease
      for (const [i, priority] of (priorities as number[]).entries()) {
        const lane = this.#waiting((j) => j.queue === queue && j.priority === priority && j.group === undefined && j.seq > cursors[i])
        for (const job of lane) if (taken.length < limit && !this.#random.chance(this.lockedShare)) taken.push(job)
      }
      return this.#take(taken, lease, worker, claim)
    },
    claim_limited: ([queue, limit, worker], claim) => {
      const next = { at: "0", complete: true, blocked: false, contended: false, waitMs: null, whole: false }
      const taken: Job[] = []
      if (this.lockedShare > 0 && this.#random.chance(0.1)) next.contended = true
      else {
        const running = new Map<number, number>()
        for (const job of this.jobs.values())
          if (job.state === "active" && job.queue === queue && job.group !== undefined) running.set(job.group, (running.get(job.group) ?? 0) + 1)
        for (const job of this.#waiting((j) => j.queue === queue && j.group !== undefined)) {
          const runs = running.get(job.group!) ?? 0
          if (runs >= GROUP_LIMIT) next.blocked = true
          else if (taken.length < limit) {
            taken.push(job)
            running.set(job.group!, runs + 1)
          } else next.complete = false
        }
      }
      const last: unknown[] = []
      last[14] = JSON.stringify(next)
      return [...this.#take(taken, ++this.#lease, worker, claim), last]
    },
    sweep: ([queues]) => {
      const lanes = new Map<string, { queue: string | null; priority: number; seq: string | null }>()
      for (const { queue, priority, group, seq } of this.#waiting((j) => queues.includes(j.queue))) {
        const lane = group === undefined ? priority : LIMITED
        if (!lanes.has(`${queue} ${lane}`)) lanes.set(`${queue} ${lane}`, { queue, priority: lane, seq: String(group === undefined ? seq : 0) })
      }
      const due = this.#dueAt()
      return [...lanes.values(), { queue: null, priority: 0, seq: due === Number.POSITIVE_INFINITY ? null : String(Math.ceil(due - this.#time.now)) }]
    },
    settle: ([worker, ids, leases, outcomes, delays, results]) => {
      const list = (words: string | string[]): string[] => (typeof words !== "string" ? words : words === "{}" ? [] : words.slice(1, -1).split(","))
      if (JSON.stringify(results).includes(POISON)) {
        throw Object.assign(new Error("unsupported Unicode escape sequence"), { code: "22P05" })
      }
      return [this.#settle(worker, list(ids), list(leases), list(outcomes), delays)]
    },
    settled_before: ([ids, worker, attempts]) =>
      (ids as string[]).flatMap((id, i) => {
        const finished = this.finished.get(id)
        const error = finished?.state === "cancelled" ? { name: "JobCancelledError", message: "cancelled" } : null
        if (finished?.worker === worker && finished?.attempt === attempts[i] && finished?.state !== "removed") return [{ id, cancelled: error }]
        const job = this.jobs.get(id)
        const was = job?.attempt === attempts[i] && job?.attempts.find((a) => a.attempt === attempts[i] && a.worker === worker)
        return was && !job!.attempts.some((a) => a.attempt === attempts[i] && a.lost) ? [{ id, cancelled: null }] : []
      }),
    lost_claims: ([worker, olderThanMs, held]) => {
      const lost = [...this.jobs.values()].filter(
        (j) =>
          j.state === "active" && j.worker === worker && j.startedAt < this.#time.now - olderThanMs && !held.map(String).includes(String(j.lease)),
      )
      return lost.map(({ id, lease }) => ({ id, lease: String(lease) }))
    },
    next_due: () => {
      let delayed = Number.POSITIVE_INFINITY
      let expiry = Number.POSITIVE_INFINITY
      for (const job of this.jobs.values()) {
        if (job.state === "delayed") delayed = Math.min(delayed, job.runAt)
        if (job.state !== "active") expiry = Math.min(expiry, job.expiresAt)
      }
      const until = (at: number): number | null => (at === Number.POSITIVE_INFINITY ? null : at - this.#time.now)
      return [{ delayed: until(delayed), expiry: until(expiry), schedule: null, subscribed: false }]
    },
    promote: () => {
      const due = [...this.jobs.values()].filter((j) => j.state === "delayed" && j.runAt <= this.#time.now)
      for (const job of due) {
        job.state = "waiting"
        job.seq = this.nextSeq()
      }
      return lanesOf(due).map(([queue, priority, seq]) => ({ queue, priority, seq: String(seq) }))
    },
    expire: () => {
      const over = [...this.jobs.values()].filter((j) => j.state !== "active" && j.expiresAt <= this.#time.now)
      for (const job of over) this.#finish(job, "expired")
      return [{ ended: over.length === 0 ? null : [], lanes: null, due_ms: null, watched: null }]
    },
    rescue: ([, orphans, self]) => {
      const dead = [...this.workers].filter(([id, w]) => id !== self && w.heartbeatAt < this.#time.now - w.lease).map(([id]) => id)
      const mine = (j: Job): boolean => dead.includes(j.worker) || (orphans && !this.workers.has(j.worker))
      const lost = [...this.jobs.values()].filter((j) => j.state === "active" && mine(j))
      for (const id of dead) this.workers.delete(id)
      const again: Job[] = []
      for (const job of lost) {
        this.leases.get(job.lease)!.endedBy = "rescue"
        job.attempts.push({ attempt: job.attempt, worker: job.worker, lost: true })
        job.crashes++
        job.maxAttempts++
        if (job.cancelled) this.#finish(job, "cancelled")
        else if (job.crashes >= 5) this.#finish(job, "failed")
        else {
          this.#back(job, "waiting")
          again.push(job)
        }
      }
      const any = dead.length > 0 || lost.length > 0
      return [{ rescued: [], ended: null, workers: any ? dead : null, lanes: lanesOf(again), due_ms: null, watched: null }]
    },
  }

  #dueAt(): number {
    return Math.min(
      ...[...this.jobs.values()].map((job) =>
        job.state === "active" ? Number.POSITIVE_INFINITY : job.state === "delayed" ? Math.min(job.runAt, job.expiresAt) : job.expiresAt,
      ),
    )
  }

  #isLive(row: WorkerRow): boolean {
    return row.heartbeatAt > this.#time.now - row.lease
  }

  /** As sql/functions/wake_lane.sql. */
  wakeLane(queue: string, priority: number, seq: number, mark?: string, taker: string | null = null, level = 0): void {
    const live = [...this.workers]
      .filter(([, w]) => w.listens && w.queues.includes(queue) && w.heartbeatAt > this.#time.now - w.lease / 2)
      .map(([id]) => id)
    const taken = taker !== null && (this.workers.get(taker)?.queues.includes(queue) ?? false)
    const others = this.#random.shuffle(live.filter((id) => id !== taker))
    const meant = level > 0 || !taken ? others.slice(0, 4 ** level) : []
    for (const [i, id] of meant.entries()) this.#notify(["j", queue, priority, seq, level, i === 0], id)
    const guard = live.filter((id) => !meant.includes(id) && !(taken && id === taker)).sort()[0]
    if (guard !== undefined) this.#notify(["g", queue, priority, seq], guard)
    if (meant.length === 0 && !taken) this.#notify(["j", queue, priority, seq, ...(mark === undefined ? [] : [mark])])
  }

  /** As sql/functions/wake_due.sql. */
  wakeDue(ms: number, mark?: string): void {
    const keepers = [...this.workers]
      .filter(([, w]) => w.listens && this.#isLive(w))
      .map(([id]) => id)
      .sort()
      .slice(0, 2)
    for (const id of keepers) this.#notify(["d", Math.ceil(ms)], id)
    if (keepers.length === 0) this.#notify(["d", Math.ceil(ms), ...(mark === undefined ? [] : [mark])])
  }

  #settle(
    worker: string,
    ids: readonly string[],
    leases: readonly string[],
    outcomes: readonly string[],
    delays: readonly (number | null)[] | null,
  ): any {
    const settled: string[] = []
    const cancelled: Record<string, object> = {}
    const waiting: Job[] = []
    let dueMs: number | null = null
    ids.forEach((id, i) => {
      const job = this.#fenced(id, leases[i]!, worker)
      if (job === undefined) return
      const lease = this.leases.get(job.lease)!
      const outcome = outcomes[i]!
      lease.endedBy = outcome
      settled.push(id)
      if (outcome === "completed" && !lease.made) this.#violated(`${id} is completed under lease ${job.lease}, whose handler has not returned`)
      if (job.cancelled) {
        if (outcome !== "cancelled") cancelled[id] = { name: "JobCancelledError", message: "cancelled" }
        this.#finish(job, "cancelled")
      } else if (outcome === "retry" || outcome === "snoozed" || outcome === "released") {
        if (outcome === "retry") job.attempts.push({ attempt: job.attempt, worker, lost: false })
        else job.attempt--
        const delay = delays?.[i] ?? 0
        if (outcome !== "released") job.seq = this.nextSeq()
        job.runAt = this.#time.now + delay
        this.#back(job, delay > 0 ? "delayed" : "waiting")
        if (delay > 0) dueMs = Math.min(dueMs ?? delay, delay)
        else waiting.push(job)
      } else this.#finish(job, outcome)
    })
    const lanes = waiting.length === 0 ? null : lanesOf(waiting)
    return {
      settled: settled.length === ids.length ? null : settled,
      cancelled: Object.keys(cancelled).length === 0 ? null : cancelled,
      watched: null,
      lanes,
      due_ms: dueMs,
      ended: null,
      subscribed: false,
    }
  }

  #fenced(id: string, lease: string, worker: string): Job | undefined {
    const job = this.jobs.get(id)
    return job?.state === "active" && String(job.lease) === String(lease) && job.worker === worker ? job : undefined
  }

  #waiting(which: (job: Job) => boolean): Job[] {
    return [...this.jobs.values()]
      .filter((j) => j.state === "waiting" && j.expiresAt > this.#time.now && which(j))
      .sort((a, b) => a.priority - b.priority || a.seq - b.seq)
  }

  #take(jobs: readonly Job[], lease: number, worker: string, claim: Claim): unknown[][] {
    return jobs.map((job, i) => {
      // The same number for all of a claim would do; one a job tells them apart.
      const own = i === 0 ? lease : ++this.#lease
      this.leases.set(own, { job: job.id, worker, known: this.workers.has(worker), claim, made: false, endedBy: undefined })
      Object.assign(job, { state: "active", attempt: job.attempt + 1, startedAt: this.#time.now, worker, lease: own })
      const ttl = job.expiresAt === Number.POSITIVE_INFINITY ? null : job.expiresAt - this.#time.now
      return [job.id, String(job.seq), job.priority, String(own), job.task, job.attempt, job.maxAttempts, "[]", null, null, 0, null, false, ttl]
    }) as unknown[][]
  }

  #back(job: Job, state: "waiting" | "delayed"): void {
    Object.assign(job, { state, lease: 0, worker: "" })
  }

  #finish(job: Job, state: string): void {
    if (this.finished.has(job.id)) this.#violated(`${job.id} ends twice`)
    this.jobs.delete(job.id)
    this.finished.set(job.id, { state, worker: job.worker, attempt: job.attempt })
  }
}

/** The lanes of these jobs, each with its lowest seq. */
function lanesOf(jobs: readonly Job[]): [string, number, number][] {
  const lanes = new Map<string, [string, number, number]>()
  for (const { queue, priority, group, seq } of jobs) {
    const lane = group === undefined ? priority : LIMITED
    const known = lanes.get(`${queue} ${lane}`)
    if (known === undefined) lanes.set(`${queue} ${lane}`, [queue, lane, seq])
    else known[2] = Math.min(known[2], seq)
  }
  return [...lanes.values()]
}
