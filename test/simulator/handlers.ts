/** What the jobs of a simulation do: well and badly behaved handlers, by the seed; and what must hold whenever one is called. */
import { currentJob, NonRetryableError, snooze, task, WorkerShutdownError } from "pgtusk"
import type { CurrentJob } from "../../src/api/worker.js"
import { type Lease, POISON, type SimulatedDatabase } from "./database.js"
import type { Network } from "./network.js"
import type { SimulatedWorker } from "./workers.js"

export const QUEUES = ["fast", "mixed"] as const

interface Open {
  readonly worker: SimulatedWorker
  readonly job: CurrentJob
  readonly lease: Lease
}

export interface Stage {
  readonly network: Network
  readonly database: SimulatedDatabase
  readonly workers: readonly SimulatedWorker[]
  readonly violated: (what: string) => void
  /** Faults may still happen. */
  storm: boolean
  /** Handlers of the last act wait for this. */
  readonly held: { count: number; go: (() => void)[] }
}

/** Handlers are registered once for the process; one simulation runs at a time. */
let stage: Stage | undefined
const open = new Map<string, Set<Open>>()

export function enter(next: Stage | undefined): void {
  stage = next
  open.clear()
}

for (const queue of QUEUES) {
  const options = { retries: 3, backoff: () => 0.04 }
  task({ name: `${queue}.plain`, queue, ...options }, () => perform())
  task({ name: `${queue}.timed`, queue, ...options, timeout: 0.25 }, () => perform())
  task({ name: `${queue}.limited`, queue, ...options, concurrency: { limit: 2 } }, () => perform())
  task({ name: `${queue}.held`, queue, ...options }, () => hold())
}

function perform(): unknown {
  const job = currentJob()
  const { network, violated, storm } = stage!
  const leave = begin(job)
  const { random } = network
  const dice = random.next()
  const end = (): string => {
    const end = random.next()
    if (storm && end < 0.1) throw new Error("by the seed")
    if (storm && end < 0.13) throw new NonRetryableError("by the seed")
    if (storm && end < 0.16) return POISON
    // A run that makes it in spite of a shutdown counts; for the rest it is too late.
    if (!job.signal.aborted || job.signal.reason instanceof WorkerShutdownError) made(job)
    return "made"
  }
  if (dice < (job.queue === "fast" ? 0.6 : 0.1)) {
    try {
      return end()
    } finally {
      leave()
    }
  }
  return (async () => {
    try {
      if (storm && random.chance(0.05)) snooze(random.int(0, 80) / 1_000)
      if (random.chance(0.1)) job.reportProgress(0.5)
      if (storm && random.chance(0.004)) {
        const ms = random.int(50, 5_000)
        network.trace(() => `${network.time.current!.name} blocks its event loop for ${ms} ms`)
        block(network, ms)
      }
      const long = random.chance(0.15)
      await pause(long ? random.int(200, storm ? 3_000 : 800) : random.int(1, 30), random.chance(0.8) ? job.signal : undefined)
      if (stage?.network !== network) return violated("a handler outlived its simulation")
      return end()
    } finally {
      leave()
    }
  })()
}

async function hold(): Promise<void> {
  const job = currentJob()
  const leave = begin(job)
  const { held, network } = stage!
  const process = network.time.current!
  held.count++
  await new Promise<void>((resolve) => held.go.push(() => network.time.in(0, resolve, process)))
  made(job)
  leave()
}

function made(job: CurrentJob): void {
  const lease = stage!.database.leases.get(Number(job.fence))
  if (lease !== undefined) lease.made = true
}

/** Code that computes and does not let the event loop go on. */
export function block({ time, random }: Network, ms: number): void {
  const process = time.current!
  process.blockedUntil = time.now + ms
  process.answersFirst = random.chance()
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    const abort = (): void => {
      clearTimeout(timer)
      reject(signal!.reason)
    }
    if (signal?.aborted) abort()
    else signal?.addEventListener("abort", abort, { once: true })
  })
}

/** The next beat tells it, or, if none comes through, the end of its lease. */
function mayNotKnow({ forgottenAt }: Lease, { options }: SimulatedWorker): boolean {
  return forgottenAt !== undefined && stage!.network.time.now < forgottenAt + 1.5 * options.leaseMs
}

/** A handler is called: may it be? Returns what to call at its end. */
function begin(job: CurrentJob): () => void {
  const { network, database, workers, violated } = stage!
  const { time } = network
  const worker = workers.find((w) => w.process === time.current)!
  const what = `${job.id} (lease ${job.fence}) starts in ${worker.name}`
  network.trace(() => what)
  if (worker.paused) violated(`${what}, which is paused`)

  const running = (worker.running.get(job.queue) ?? 0) + 1
  worker.running.set(job.queue, running)
  const all = [...worker.running.values()].reduce((sum, n) => sum + n, 0)
  if (running > worker.options.queues.get(job.queue)! || all > worker.options.concurrency)
    violated(`${what}, which has no slot: ${running} of the queue, ${all} in all`)

  // A claim that committed after its worker was taken for dead has a lease that any search for orphans may end; the fence protects it.
  const lease = database.leases.get(Number(job.fence))!
  const row = database.workers.get(worker.worker.id)
  if (lease.known && !mayNotKnow(lease, worker)) {
    if (lease.endedBy !== undefined) violated(`${what}, but the lease was ended (${lease.endedBy})`)
    else if (row === undefined || row.heartbeatAt + row.lease < time.now) violated(`${what} after its lease may be over`)
  }
  if (job.attempt > job.maxAttempts) violated(`${what} as attempt ${job.attempt} of ${job.maxAttempts}`)
  const here: Open = { worker, job, lease }
  const others = open.get(job.id) ?? new Set()
  for (const other of others) {
    const { process, options } = other.worker
    // A blocked event loop cannot be told; once it goes on, its next beat has a quarter of a lease to tell it.
    const unaware = process.dead || time.now < process.blockedUntil + options.leaseMs / 2 || mayNotKnow(other.lease, other.worker)
    if (!unaware && other.lease.known && lease.known && !other.job.signal.aborted)
      violated(`${what} while it runs in ${other.worker.name} (lease ${other.job.fence})`)
  }
  others.add(here)
  open.set(job.id, others)
  return () => {
    network.trace(() => `${job.id} (lease ${job.fence}) returns in ${worker.name}`)
    others.delete(here)
    worker.running.set(job.queue, worker.running.get(job.queue)! - 1)
  }
}
