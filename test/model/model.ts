/**
 * What the SQL protocols mean, in a few lines of plain code: the jobs of one queue, their edges and keys, and a clock in hours. Nothing here knows
 * tables, locks or statements.
 */
type Policy = "block" | "fail" | "cancel" | "run"
type Live = "waiting" | "delayed" | "blocked" | "active"
export type End = "completed" | "failed" | "expired" | "cancelled"
export type RunOutcome = "completed" | "failed" | "cancelled" | "retry" | "snoozed" | "released"

interface Edge {
  readonly parent: ModelJob
  readonly policy: Policy
}

export interface ModelJob {
  readonly id: string
  readonly priority: number
  readonly ttl: number | undefined
  /** Workers that may vanish with it. */
  readonly cap: number
  readonly key: string | undefined
  readonly customId: string | undefined
  state: Live | End | "removed"
  attempt: number
  maxAttempts: number
  crashes: number
  due: number | undefined
  expires: number | undefined
  /** The runs that a retry by hand allows, once there was one. */
  budget: number | undefined
  worker: string | undefined
  cancelled: boolean
  /** Parents that do not allow it yet, and those of a job that ended while it was blocked. */
  edges: Edge[]
  shelved: Edge[]
  /** Its place in its lane, as the database says; fresh: it must have got a new one. */
  seq: number
  fresh: boolean
  /** Its claim's number, as the database says. */
  lease: string | undefined
}

export interface Draft {
  readonly id: string
  readonly priority: number
  readonly retries: number
  readonly delay: number
  readonly ttl: number | undefined
  readonly cap: number
  readonly key: string | undefined
  readonly customId: string | undefined
  readonly edges: readonly Edge[]
}

export class Model {
  now = 0
  paused = false
  readonly jobs: ModelJob[] = []
  /** The live owner of each deduplication key. */
  readonly keys = new Map<string, ModelJob>()
  readonly customIds = new Map<string, ModelJob>()
  /** Workers with a row; true: its heartbeat is too old. */
  readonly workers = new Map<string, boolean>()

  /** The job that it comes to: a new one, the owner of its key, or undefined for a parent that does not exist. */
  enqueue(draft: Draft): ModelJob | undefined {
    const owner = draft.key !== undefined ? this.keys.get(draft.key) : draft.customId !== undefined ? this.customIds.get(draft.customId) : undefined
    if (owner !== undefined) return owner
    if (draft.edges.some(({ parent }) => parent.state === "removed")) return undefined
    const job: ModelJob = {
      ...draft,
      state: draft.edges.length > 0 ? "blocked" : draft.delay > 0 ? "delayed" : "waiting",
      attempt: 0,
      maxAttempts: draft.retries + 1,
      crashes: 0,
      due: draft.delay > 0 ? this.now + draft.delay : undefined,
      expires: draft.ttl === undefined ? undefined : this.now + draft.ttl,
      budget: undefined,
      worker: undefined,
      cancelled: false,
      edges: [...draft.edges],
      shelved: [],
      seq: 0,
      fresh: true,
      lease: undefined,
    }
    this.jobs.push(job)
    if (draft.key !== undefined) this.keys.set(draft.key, job)
    if (draft.customId !== undefined) this.customIds.set(draft.customId, job)
    this.#hearOfEnds(job)
    return job
  }

  /** What a worker gets: the next ones of each lane that may still start. */
  claim(worker: string, most: number): ModelJob[] {
    if (this.paused) return []
    const next = this.jobs
      .filter((job) => job.state === "waiting" && !this.#late(job))
      .sort((a, b) => a.priority - b.priority || a.seq - b.seq)
      .slice(0, most)
    for (const job of next) Object.assign(job, { state: "active", attempt: job.attempt + 1, worker })
    return next
  }

  /** For runs whose fence holds. */
  settle(outcomes: readonly { job: ModelJob; outcome: RunOutcome; delay: number }[]): void {
    const back = outcomes.filter(({ job, outcome }) => !job.cancelled && ["retry", "snoozed", "released"].includes(outcome))
    const over = outcomes.filter((o) => !back.includes(o))
    for (const { job, outcome, delay } of back) {
      this.#giveBack(job)
      if (outcome !== "retry") job.attempt--
      if (outcome !== "released") job.fresh = true
      if (delay > 0) Object.assign(job, { state: "delayed", due: this.now + delay })
    }
    this.#end(over.map(({ job, outcome }) => [job, job.cancelled ? "cancelled" : (outcome as End)]))
  }

  cancel(job: ModelJob): boolean {
    if (!isLive(job)) return false
    if (job.state !== "active") this.#end([[job, "cancelled"]])
    else if (job.cancelled) return false
    else job.cancelled = true
    return true
  }

  retry(job: ModelJob): boolean {
    if (job.state !== "failed" && job.state !== "expired" && job.state !== "cancelled") return false
    // Another job has its key by now.
    const owners = [
      job.key === undefined ? undefined : this.keys.get(job.key),
      job.customId === undefined ? undefined : this.customIds.get(job.customId),
    ]
    if (owners.some((owner) => owner !== undefined && owner !== job)) return false
    if (job.key !== undefined) this.keys.set(job.key, job)
    job.budget ??= Math.max(job.maxAttempts - job.crashes, 1)
    const waitsFor = job.shelved.filter(({ parent }) => parent.state !== "removed")
    Object.assign(job, {
      state: waitsFor.length > 0 ? "blocked" : "waiting",
      maxAttempts: job.attempt + job.budget,
      crashes: 0,
      due: undefined,
      expires: job.ttl === undefined ? undefined : this.now + job.ttl,
      // It was asked to run, so what its parent's end said is no matter any more.
      edges: waitsFor.map(({ parent, policy }) => ({
        parent,
        policy: !isLive(parent) && (policy === "fail" || policy === "cancel") ? "block" : policy,
      })),
      shelved: [],
      cancelled: false,
      fresh: true,
    })
    this.#hearOfEnds(job)
    return true
  }

  promote(job: ModelJob): boolean {
    if (job.state !== "delayed") return false
    Object.assign(job, { state: "waiting", due: undefined, fresh: true })
    return true
  }

  reschedule(job: ModelJob, delay: number): boolean {
    if (job.state !== "waiting" && job.state !== "delayed") return false
    Object.assign(job, { state: delay > 0 ? "delayed" : "waiting", due: this.now + delay, fresh: true })
    return true
  }

  remove(job: ModelJob): boolean {
    if (job.state === "removed") return false
    this.#releaseKey(job)
    if (job.customId !== undefined) this.customIds.delete(job.customId)
    Object.assign(job, { state: "removed", edges: [], shelved: [] })
    this.#resolve([job])
    return true
  }

  // ── Duties ──

  promoteDue(): void {
    for (const job of this.jobs) if (job.state === "delayed" && job.due! <= this.now) Object.assign(job, { state: "waiting", fresh: true })
  }

  expire(): void {
    this.#end(this.jobs.filter((job) => isLive(job) && job.state !== "active" && this.#late(job)).map((job) => [job, "expired"]))
  }

  /** By a worker that lives. */
  rescue(self: string, orphans: boolean): void {
    const dead = [...this.workers].filter(([worker, old]) => old && worker !== self).map(([worker]) => worker)
    const lost = this.jobs.filter((job) => job.state === "active" && (dead.includes(job.worker!) || (orphans && !this.workers.has(job.worker!))))
    const over: [ModelJob, End][] = []
    for (const job of lost) {
      job.crashes++
      if (job.cancelled) over.push([job, "cancelled"])
      else if (job.crashes >= job.cap) over.push([job, "failed"])
      else {
        this.#giveBack(job)
        job.maxAttempts++
      }
    }
    this.#end(over)
    for (const worker of dead) this.workers.delete(worker)
  }

  // ── Parts ──

  #late(job: ModelJob): boolean {
    return job.expires !== undefined && job.expires <= this.now
  }

  #giveBack(job: ModelJob): void {
    Object.assign(job, { state: "waiting", worker: undefined, lease: undefined, due: undefined })
  }

  #releaseKey(job: ModelJob): void {
    for (const [key, owner] of this.keys) if (owner === job) this.keys.delete(key)
  }

  #end(ends: readonly (readonly [ModelJob, End])[]): void {
    if (ends.length === 0) return
    for (const [job, state] of ends) {
      this.#releaseKey(job)
      Object.assign(job, { state, worker: undefined, lease: undefined, shelved: job.edges, edges: [] })
    }
    this.#resolve(ends.map(([job]) => job))
  }

  /** These have ended, or are gone: their children go on, or end in turn. */
  #resolve(ended: readonly ModelJob[]): void {
    const doomed: [ModelJob, End][] = []
    for (const child of this.jobs) {
      if (child.state !== "blocked" || !child.edges.some(({ parent }) => ended.includes(parent))) continue
      const before = child.edges.length
      child.edges = child.edges.filter(({ parent, policy }) => !ended.includes(parent) || (parent.state !== "completed" && policy !== "run"))
      child.fresh ||= child.edges.length < before
      const bad = child.edges.filter(({ parent, policy }) => ended.includes(parent) && (policy !== "block" || parent.state === "removed"))
      if (child.edges.length === 0) child.state = child.due !== undefined && child.due > this.now ? "delayed" : "waiting"
      else if (bad.length > 0) doomed.push([child, bad.some(({ policy }) => policy === "fail") ? "failed" : "cancelled"])
    }
    this.#end(doomed)
  }

  /** A job that was just stored: parents that have ended before decide at once. */
  #hearOfEnds(job: ModelJob): void {
    const over = job.edges.map(({ parent }) => parent).filter((parent) => !isLive(parent))
    if (over.length > 0) this.#resolve(over)
  }
}

export function isLive(job: ModelJob): boolean {
  return ["waiting", "delayed", "blocked", "active"].includes(job.state)
}
