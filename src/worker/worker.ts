/**
 * A worker: claims jobs of its queues, runs them, records their outcomes, and does the schema's duties.
 *
 * The parts, each with its own note: claimer (one a queue), run, settler, heartbeat, duties, listener. This file wires them and owns the worker's
 * life:
 *   starting → running → draining (nothing claimed; what was not started goes back; what runs may end) → stopped
 */

import { randomUUID } from "node:crypto"
import { WorkerShutdownError } from "../api/errors.js"
import type { Logger } from "../api/logger.js"
import type { JobMiddleware, Worker } from "../api/worker.js"
import type { EventFeed } from "../events/event-feed.js"
import { keepContext } from "../lib/async-context.js"
import { guardLogger } from "../lib/safe-logger.js"
import { performance, setTimeout, timeLimit } from "../lib/timers.js"
import type { Connected, Database } from "../postgres/database.js"
import { isTransient } from "../postgres/run/failure.js"
import { Runner } from "../postgres/run/pool.js"
import { endPool } from "../postgres/run/pool-end.js"
import { findTask } from "../task/registry.js"
import type { TaskSpec } from "../task/spec.js"
import type { ClaimHost } from "./claim/claim-host.js"
import type { ClaimedRow, Slot } from "./claim/claimed-job.js"
import { inTurnAfter, QueueClaimer } from "./claim/claimer.js"
import { QueueLanes } from "./claim/lanes.js"
import { Sweeper } from "./claim/sweeper.js"
import { type Connections, toPostgres } from "./connections.js"
import { Heartbeat } from "./heartbeat.js"
import { Duties } from "./maintenance/duties.js"
import type { CheckedWorkerOptions } from "./options.js"
import { containRejections, drainOnSignals } from "./process-guard.js"
import { Registration } from "./registration.js"
import { Cancellations } from "./run/cancellations.js"
import { JobTransactions } from "./run/job-transactions.js"
import type { Outcome } from "./run/outcome.js"
import { Progress } from "./run/progress.js"
import { Run, type RunHost } from "./run/run.js"
import { Runs } from "./run/runs.js"
import { Announcer } from "./settle/announcer.js"
import { LostClaims } from "./settle/lost-claims.js"
import { type Settlement, Settler, type Verdict } from "./settle/settler.js"
import { WakeUps } from "./wake-ups.js"

/** What a worker takes from its client. */
export interface WorkerContext {
  readonly database: Database
  readonly connected: Connected
  readonly events: EventFeed
  readonly maxPayloadBytes: number | null
  /** Grows when the client gets another middleware. */
  readonly around: readonly JobMiddleware[]
}

/** Outcomes unrecorded beyond which nothing more is claimed. */
const MAX_UNSETTLED = 10_000
/** Transactional handlers at once; more wait for a connection. */
const MAX_TRANSACTIONS = 50
/** After a shutdown's abort, handlers have this long before their jobs go back whatever they do. */
const ABORT_GRACE_MS = 5_000

export class QueueWorker implements Worker {
  readonly id: string = randomUUID()
  readonly stopped: Promise<void>
  readonly #context: WorkerContext
  readonly #options: CheckedWorkerOptions
  readonly #logger: Logger
  readonly #announcer: Announcer
  readonly #pool: ReturnType<Connections["pool"]>
  readonly #transactions: JobTransactions
  readonly #claimers = new Map<string, QueueClaimer>()
  readonly #registration: Registration
  readonly #runs: Runs
  readonly #host: RunHost
  readonly #cancellations: Cancellations
  readonly #settler: Settler
  readonly #heartbeat: Heartbeat
  readonly #duties: Duties
  readonly #sweeper: Sweeper
  readonly #progress: Progress
  readonly #lostClaims: LostClaims
  readonly #wakeUps: WakeUps
  #undo: (() => void)[] = []
  #markStopped: () => void = () => undefined
  #paused = false
  #started = false
  #stopping: Promise<void> | undefined
  readonly #impatience = new AbortController()
  /** Of `work()`: hooks and what aborted handlers do run there, whoever stops the worker. */
  readonly #inContext = keepContext(<T>(work: () => T): T => work()) as <T>(work: () => T) => T
  #claimPauseUntil = 0
  /** Runs under a limit are among those just settled. */
  #roomMade = false

  constructor(context: WorkerContext, options: CheckedWorkerOptions, connections: Connections = toPostgres) {
    this.#context = context
    this.#options = options
    const { database, connected } = context
    // A logger that throws must not come between a job and its outcome.
    const logger = guardLogger(database.logger)
    this.#logger = logger
    this.#announcer = new Announcer(context.events)
    this.stopped = new Promise((resolve) => {
      this.#markStopped = resolve
    })
    // Claim, settle, beat and duties each find a connection of their own, however busy the others are.
    this.#pool = connections.pool(connected.connector, 4, logger, "worker")
    const runner = new Runner(this.#pool, connected.target, connected.statementNames, options.answerMs)
    const { statements, notifier } = connected
    const common = { names: database.names, events: context.events, logger, runner, statements, notifier, workerId: this.id }
    const slots = Math.min(
      options.concurrency,
      [...options.queues.values()].reduce((sum, n) => sum + n, 0),
      MAX_TRANSACTIONS,
    )
    this.#transactions = new JobTransactions({ ...common, connector: connected.connector, most: slots, answerMs: options.answerMs })
    const queues = [...options.queues.keys()]
    const listens = (): boolean => this.#wakeUps.live && !this.#paused && this.#stopping === undefined
    this.#registration = new Registration({ ...common, leaseMs: options.leaseMs, queues, listens })
    this.#host = {
      workerId: this.id,
      around: context.around,
      maxPayloadBytes: context.maxPayloadBytes,
      begin: (run) => this.#transactions.begin(run.id),
      progressed: (run, fraction, data) => this.#progressed(run, fraction, data),
    }
    this.#runs = new Runs({
      ...common,
      host: this.#host,
      started: (run) => this.#announcer.started(run),
      decided: (run, outcome) => this.#decided(run, outcome),
      returned: (run) => this.#heartbeat.ended(run),
      freed: (slot) => this.#slotFree(slot.queue),
    })
    const claimHost: ClaimHost = {
      ...common,
      claimTimeoutMs: options.claimMs,
      mayClaim: () => this.#mayClaim(),
      holdsLease: () => this.#heartbeat.holdsLease,
      reserved: 0,
      slots: options.concurrency,
      freeSlots: () => options.concurrency - this.#runs.size - claimHost.reserved,
      knownTasks: () => this.#registration.knownTasks(),
      start: (row, slot) => this.#runs.start(row, slot, findTask(row.task) as TaskSpec),
      release: (rows, slot) => this.#release(rows, slot),
      lookAround: () => this.#sweeper.soon(),
      lookNow: () => this.#sweeper.nowIfAllowed(),
      shared: false,
      relay: (lane, level) => notifier.relay(lane, level, this.id),
      failed: (error) => this.#claimFailed(error),
    }
    for (const [queue, concurrency] of options.queues) {
      this.#claimers.set(queue, new QueueClaimer(queue, concurrency, new QueueLanes(), claimHost))
    }
    this.#cancellations = new Cancellations({ ...common, runs: this.#runs, claimers: this.#claimers })
    this.#settler = new Settler({
      ...common,
      settled: (settlement, verdict) => this.#settled(settlement, verdict),
      concluded: () => {
        // Claiming pauses while too much is unrecorded; nothing else would take it up again.
        for (const claimer of this.#claimers.values()) claimer.concluded(this.#roomMade)
        this.#roomMade = false
      },
    })
    this.#heartbeat = new Heartbeat({
      ...common,
      leaseMs: options.leaseMs,
      register: () => this.#registration.register(),
      refresh: () => this.#registration.refresh(),
      openRuns: () => this.#runs,
      running: () => this.#runs.size,
      lost: (runs, why) => this.#runs.lost(runs, why),
      lostAll: (why) => {
        this.#runs.giveUpAll(why)
        for (const claimer of this.#claimers.values()) claimer.releaseAll()
      },
      cancelled: (ids) => this.#cancellations.told(ids),
      outdated: () => void this.drain(),
      revived: () => this.#lookFirst(),
      listens,
      listening: () => {
        this.#sweeper.now()
        notifier.joined()
      },
      fleet: ({ place, others, nextLossMs }) => {
        claimHost.shared = others > 0
        this.#duties.fleet(place, nextLossMs)
      },
    })
    this.#duties = new Duties({
      ...common,
      // Found dead within an eighth of the lease: on stock settings a killed worker's jobs run again within 25 s.
      rescueWithinMs: options.leaseMs / 8,
      orphansEveryMs: options.leaseMs * 2,
    })
    this.#sweeper = new Sweeper({
      ...common,
      queues,
      pollMs: options.pollMs,
      found: (lanes, beganAt, dueMs) => {
        for (const claimer of this.#claimers.values()) claimer.swept(lanes.get(claimer.queue) ?? [], beganAt)
        if (dueMs !== undefined) this.#duties.found(dueMs)
      },
    })
    this.#progress = new Progress({
      ...common,
      tell: (run) => this.#announcer.latestProgress(run),
    })
    this.#lostClaims = new LostClaims({
      ...common,
      leaseMs: options.leaseMs,
      held: () => [
        ...[...this.#runs].map((run) => run.row.lease),
        ...[...this.#claimers.values()].flatMap((claimer) => claimer.leases()),
        ...this.#settler.leases(),
      ],
    })
    this.#wakeUps = new WakeUps({
      ...common,
      connections,
      connector: connected.listenConnector,
      claimers: this.#claimers,
      sweeper: this.#sweeper,
      duties: this.#duties,
      cancellations: this.#cancellations,
      up: () => {
        this.#lookFirst()
        this.#duties.hint(0)
        this.#heartbeat.now()
      },
      down: () => this.#heartbeat.now(),
      joined: () => void (claimHost.shared = true),
    })
  }

  /** Registers, starts the parts, claims. Rejects, with everything undone, when the database refuses or `onStart` throws. */
  async start(): Promise<void> {
    try {
      await this.#registration.publishTasks()
      await this.#settler.start()
      await this.#heartbeat.start()
      await this.#options.onStart?.(this)
      await this.#progress.start()
      await this.#duties.start()
      await this.#lostClaims.start()
      // Told to stop meanwhile (onStart, a client that closes): nobody would undo what follows.
      if (this.#stopping !== undefined) return await this.#stopping
      this.#undo.push(containRejections(this.#logger))
      if (this.#options.signals) this.#undo.push(drainOnSignals(this, this.#logger))
      this.#undo.push(this.#wakeUps.start(this.#context.database.hub))
      for (const claimer of this.#claimers.values()) claimer.hold()
      this.#started = true
      await this.#sweeper.start()
    } catch (error) {
      this.#stopping ??= this.#shutDown(0, false)
      await this.#stopping
      throw error
    }
  }

  async drain(): Promise<void> {
    this.#stopping ??= this.#inContext(() => this.#shutDown(this.#options.drainTimeoutMs, true))
    await this.#stopping
  }

  async stop(): Promise<void> {
    this.#impatience.abort()
    this.#stopping ??= this.#inContext(() => this.#shutDown(0, true))
    await this.#stopping
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain()
  }

  pause(): void {
    this.#paused = true
    this.#heartbeat.now()
    for (const claimer of this.#claimers.values()) claimer.releaseAll()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#heartbeat.now()
    this.#lookFirst()
  }

  /** Nothing is claimed before it is known what waits. */
  #lookFirst(): void {
    for (const claimer of this.#claimers.values()) claimer.hold()
    this.#sweeper.now()
  }

  #mayClaim(): boolean {
    return (
      this.#started &&
      !this.#paused &&
      this.#stopping === undefined &&
      !this.#heartbeat.fenced &&
      this.#settler.unsettled < MAX_UNSETTLED &&
      performance.now() >= this.#claimPauseUntil
    )
  }

  /** A slot of the queue is free again; under a limit for the whole worker any queue may have it, the next one first. */
  #slotFree(queue: string): void {
    if (this.#options.concurrency === Number.POSITIVE_INFINITY || this.#claimers.size === 1) this.#claimers.get(queue)!.freed()
    else for (const claimer of inTurnAfter(queue, [...this.#claimers.values()])) claimer.pump()
  }

  #decided(run: Run, outcome: Outcome): void {
    this.#progress.forget(run)
    if (outcome.kind === "lost") return
    if (outcome.kind === "recorded") this.#settler.recorded(run, outcome.row)
    else {
      this.#announcer.decided(run)
      this.#settler.add({ run, outcome })
    }
  }

  #release(rows: readonly ClaimedRow[], slot: Slot): void {
    for (const row of rows) {
      const run = new Run(row, slot, findTask(row.task) as TaskSpec, this.#host)
      run.decided = true
      this.#settler.add({ run, outcome: { kind: "released" } })
    }
  }

  #settled(settlement: Settlement, verdict: Verdict): void {
    const { run, outcome } = settlement
    this.#roomMade ||= run.row.limited || this.#claimers.get(run.queue)!.limited.whole
    // A job that was handed back without a word may well be another's by then.
    if (verdict === "lost" && outcome.kind !== "released") {
      this.#logger.warn("an outcome came too late: the job is another worker's, or was removed", { job: run.id, task: run.task })
    }
    this.#announcer.settled(settlement, verdict)
  }

  #progressed(run: Run, fraction: number, data: unknown): void {
    this.#progress.note(run)
    this.#announcer.progressed(run, fraction, data)
  }

  #claimFailed(error: unknown): void {
    // Claims pause for a second, and the sweep after it finds the work again.
    this.#claimPauseUntil = performance.now() + 1_000
    this.#lostClaims.claimFailed()
    this.#logger[isTransient(error) ? "warn" : "error"]("a claim failed and is tried again", { error: error as Error })
    setTimeout(() => this.#sweeper.now(), 1_010).unref()
  }

  async #shutDown(patienceMs: number, wasStarted: boolean): Promise<void> {
    const claimers = [...this.#claimers.values()]
    for (const claimer of claimers) claimer.releaseAll()
    this.#heartbeat.now()
    await this.#wakeUps.closeGuard()
    await this.#sweeper.stop()
    await Promise.all(claimers.map((claimer) => claimer.claimed()))
    for (const claimer of claimers) claimer.releaseAll()
    if (!(await this.#runs.over("decided", patienceMs, this.#impatience.signal))) {
      this.#logger.warn("the worker stops; its running jobs are aborted and go back", { jobs: [...this.#runs].map((run) => run.id) })
      this.#runs.abortAll((run) => new WorkerShutdownError(`The worker stops; job ${run.id} (task "${run.task}") goes back and uses no attempt`))
    }
    // Handlers whose outcome is decided may clean up for a while.
    await this.#runs.over("returned", ABORT_GRACE_MS)
    this.#runs.decideAll()
    // A database that is away must not keep the process for ever: after a lease the jobs are rescued anyway.
    const late = new Promise<boolean>((resolve) => setTimeout(resolve, this.#options.leaseMs, false).unref())
    const drained = await Promise.race([this.#settler.drained().then(() => true), late])
    await Promise.all([
      this.#lostClaims.stop(),
      this.#progress.stop(),
      this.#duties.stop(),
      this.#heartbeat.stop(),
      this.#settler.stop(),
      this.#wakeUps.close(),
    ])
    for (const undo of this.#undo.splice(0)) undo()
    for (const claimer of claimers) claimer.close()
    try {
      // Its row is what its jobs are rescued by: it goes only when none is left.
      if (drained) await this.#lostClaims.last().then(() => this.#registration.deregister())
    } catch (error) {
      this.#logger.debug("the worker could not deregister; it is found dead after its lease", { error: error as Error })
    }
    await this.#context.connected.notifier.flush()
    if (wasStarted) {
      try {
        await this.#options.onStop?.(this)
      } catch (error) {
        this.#logger.error("onStop threw", { error: error as Error })
      }
    }
    // What is still at work here (a handler that was given up) must not hold the worker for ever.
    const within = timeLimit(ABORT_GRACE_MS)
    await Promise.allSettled([endPool(this.#pool, within), this.#transactions.close(within)])
    this.#markStopped()
  }
}
