/** The commands: each does the same to the model and to Postgres, compares the answers, and then all that is stored. */
import fc from "fast-check"
import { expect } from "vitest"
import { PRIORITIES, type Real, SOON_DEAD } from "./database.js"
import type { Model, ModelJob, RunOutcome } from "./model.js"

type Body<P> = (model: Model, real: Real, parameters: P) => Promise<void>

class Step<P> implements fc.AsyncCommand<Model, Real> {
  readonly #name: string
  readonly #parameters: P
  readonly #body: Body<P>

  constructor(name: string, parameters: P, body: Body<P>) {
    this.#name = name
    this.#parameters = parameters
    this.#body = body
  }

  check(): boolean {
    return true
  }

  async run(model: Model, real: Real): Promise<void> {
    await this.#body(model, real, this.#parameters)
    await real.compare(model)
  }

  toString(): string {
    return `${this.#name}(${JSON.stringify(this.#parameters)})`
  }
}

function step<P>(name: string, parameters: fc.Arbitrary<P>, body: Body<P>): fc.Arbitrary<fc.AsyncCommand<Model, Real>> {
  return parameters.map((p) => new Step(name, p, body))
}

const number = fc.nat({ max: 1_000 })
const hours = fc.integer({ min: 0, max: 3 })
/** The job that a number means. */
const pick = (jobs: readonly ModelJob[], n: number): ModelJob | undefined => jobs[n % Math.max(jobs.length, 1)]
const active = (model: Model): ModelJob[] => model.jobs.filter((job) => job.state === "active")

const enqueue = step(
  "enqueue",
  fc.record({
    fragile: fc.boolean(),
    priority: fc.constantFrom(...PRIORITIES),
    retries: fc.nat({ max: 2 }),
    delay: fc.oneof(fc.constant(0), hours),
    ttl: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined, freq: 2 }),
    key: fc.option(fc.constantFrom("a", "b"), { nil: undefined, freq: 2 }),
    customId: fc.option(fc.constantFrom("one", "two"), { nil: undefined, freq: 2 }),
    parents: fc.array(fc.tuple(number, fc.constantFrom("block" as const, "fail" as const, "cancel" as const, "run" as const)), { maxLength: 3 }),
  }),
  async (model, real, { parents, customId, ...options }) => {
    const edges = new Map(parents.flatMap(([n, policy]) => (model.jobs.length === 0 ? [] : [[pick(model.jobs, n)!, policy] as const])))
    const draft = { ...options, customId: options.key === undefined ? customId : undefined }
    let stored: { id: string; created: boolean } | undefined
    try {
      stored = await real.enqueue({ ...draft, edges: [...edges].map(([parent, onFailure]) => ({ job: parent.id, onFailure })) })
    } catch (error) {
      if ((error as { code?: string }).code !== "UNKNOWN_JOB") throw error
      await real.unlocked()
    }
    const known = new Set(model.jobs)
    const job = model.enqueue({
      ...draft,
      id: stored?.id ?? "refused",
      cap: draft.fragile ? SOON_DEAD : 5,
      edges: [...edges].map(([parent, policy]) => ({ parent, policy })),
    })
    expect(stored && { id: stored.id, created: stored.created }).toEqual(job && { id: job.id, created: !known.has(job) })
  },
)

const claim = step(
  "claim",
  fc.record({ worker: fc.nat({ max: 1 }), most: fc.integer({ min: 1, max: 4 }), registered: fc.boolean() }),
  async (model, real, { worker, most, registered }) => {
    const id = real.workers[worker]!
    // One that was taken for dead may claim before it knows.
    if (registered) {
      await real.register(id)
      model.workers.set(id, false)
    }
    const rows = await real.claim(id, most)
    expect(rows.map((row) => row.id).sort()).toEqual(
      model
        .claim(id, most)
        .map((job) => job.id)
        .sort(),
    )
    expect(new Set(rows.map((row) => row.lease)).size).toBeLessThanOrEqual(1)
  },
)

const OUTCOMES: readonly RunOutcome[] = ["completed", "completed", "failed", "failed", "retry", "snoozed", "released", "cancelled"]

const settle = step(
  "settle",
  fc.array(fc.record({ job: number, outcome: fc.constantFrom(...OUTCOMES), delay: hours, stale: fc.nat({ max: 9 }) }), {
    minLength: 1,
    maxLength: 3,
  }),
  async (model, real, wanted) => {
    const worker = pick(active(model), wanted[0]!.job)?.worker
    if (worker === undefined) return
    const batch = new Map(
      wanted.flatMap(({ job: n, ...rest }) => {
        const job = pick(active(model), n)
        return job === undefined ? [] : [[job, rest] as const]
      }),
    )
    const sent = [...batch].map(([job, { outcome, delay, stale }]) => ({
      job,
      outcome,
      delay: outcome === "released" ? 0 : delay,
      stale: stale === 0,
    }))
    const settled = await real.settle(
      worker,
      sent.map(({ job, outcome, delay, stale }) => ({ id: job.id, lease: stale ? String(BigInt(job.lease!) - 1n) : job.lease!, outcome, delay })),
    )
    // Another worker's, and under another lease: neither is this one's to settle.
    const own = sent.filter(({ job, stale }) => job.worker === worker && !stale)
    model.settle(own)
    expect([...settled].sort()).toEqual(own.map(({ job }) => job.id).sort())
  },
)

/** A run that ended long ago speaks up. */
const settleStale = step(
  "settleStale",
  fc.record({ job: number, outcome: fc.constantFrom(...OUTCOMES), worker: fc.nat({ max: 1 }) }),
  async (model, real, { job: n, outcome, worker }) => {
    const job = pick(
      model.jobs.filter((j) => j.state !== "active"),
      n,
    )
    if (job === undefined) return
    expect(await real.settle(real.workers[worker]!, [{ id: job.id, lease: "1", outcome, delay: 1 }])).toEqual([])
  },
)

type Handle = ReturnType<Real["tusk"]["job"]>

/** On any job, mostly on one that is in one of the states where it does something. */
const onJob = (
  name: string,
  states: readonly ModelJob["state"][],
  real: (handle: Handle) => Promise<boolean>,
  model: (model: Model, job: ModelJob) => boolean,
) =>
  step(name, fc.record({ job: number, any: fc.nat({ max: 4 }) }), async (m, r, { job: n, any }) => {
    const fitting = m.jobs.filter((job) => states.includes(job.state))
    const job = pick(any === 0 || fitting.length === 0 ? m.jobs : fitting, n)
    if (job === undefined) return
    expect(await real(r.tusk.job(job.id))).toBe(model(m, job))
  })

const LIVE: readonly ModelJob["state"][] = ["waiting", "delayed", "blocked", "active"]
const retry = onJob(
  "retry",
  ["failed", "expired", "cancelled"],
  (job) => job.retry(),
  (model, job) => model.retry(job),
)

const cancel = onJob(
  "cancel",
  LIVE,
  (job) => job.cancel(),
  (model, job) => model.cancel(job),
)

export const COMMANDS: fc.Arbitrary<fc.AsyncCommand<Model, Real>>[] = [
  enqueue,
  enqueue,
  enqueue,
  claim,
  claim,
  settle,
  settle,
  settle,
  settleStale,
  retry,
  retry,
  cancel,
  cancel,
  onJob(
    "promote",
    ["delayed"],
    (job) => job.promote(),
    (model, job) => model.promote(job),
  ),
  onJob(
    "reschedule",
    ["waiting", "delayed"],
    (job) => job.reschedule("1h"),
    (model, job) => model.reschedule(job, 1),
  ),
  onJob(
    "remove",
    [...LIVE, "completed", "failed", "expired", "cancelled"],
    (job) => job.remove(),
    (model, job) => model.remove(job),
  ),
  step("lost claims", fc.record({ worker: fc.nat({ max: 1 }), held: fc.nat() }), async (model, real, { worker, held }) => {
    const id = real.workers[worker]!
    const own = active(model).filter((job) => job.worker === id)
    const lost = own.filter((_, i) => ((held >> i) & 1) === 0)
    // A claim gives all its jobs one lease: who holds one of them holds all.
    const leases = new Set(own.filter((job) => !lost.includes(job)).map((job) => job.lease!))
    const alone = lost.filter((job) => !leases.has(job.lease!))
    const returned = await real.lostClaims(id, [...leases])
    model.settle(alone.map((job) => ({ job, outcome: "released", delay: 0 })))
    expect([...returned].sort()).toEqual(alone.map((job) => job.id).sort())
  }),
  step("promote what is due", fc.constant(null), async (model, real) => {
    await real.promoteDue()
    model.promoteDue()
  }),
  step("expire", fc.constant(null), async (model, real) => {
    await real.expire()
    model.expire()
  }),
  step("a worker dies", fc.nat({ max: 1 }), async (model, real, worker) => {
    const id = real.workers[worker]!
    await real.grow(id)
    if (model.workers.has(id)) model.workers.set(id, true)
  }),
  step("rescue", fc.record({ by: fc.nat({ max: 1 }), orphans: fc.boolean() }), async (model, real, { by, orphans }) => {
    await real.rescue(real.workers[by]!, orphans)
    model.rescue(real.workers[by]!, orphans)
  }),
  step("advance", fc.integer({ min: 1, max: 2 }), async (model, real, n) => {
    await real.advance(n)
    model.now += n
  }),
  step("pause", fc.boolean(), async (model, real, paused) => {
    const queue = real.tusk.queue("model")
    await (paused ? queue.pause() : queue.resume())
    model.paused = paused
  }),
]
