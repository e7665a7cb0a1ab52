/** One history: a storm, a calm in which everything has to end, a last act that counts the slots, and the workers' end. */
import type { JobEvent } from "../../src/api/events.js"
import { type Random, randomFrom } from "../support/random.js"
import { SimulatedDatabase } from "./database.js"
import { block, enter, QUEUES, type Stage } from "./handlers.js"
import { HintWatch } from "./hints.js"
import { CALM, Network } from "./network.js"
import { VirtualTime } from "./time.js"
import { SimulatedWorker } from "./workers.js"

export interface Told {
  readonly seed: number
  /** Undefined: all was well. */
  readonly violation: string | undefined
  readonly events: number
  readonly trace: readonly string[]
}

class Violation extends Error {}

/** Runs the history of a seed. With `tell`, every step is written down. */
export async function runHistory(seed: number, tell = false): Promise<Told> {
  const history = new History(randomFrom(seed), tell)
  const uninstall = history.time.install()
  const listeners = process.listeners("unhandledRejection")
  try {
    await history.run()
  } catch (error) {
    if (!(error instanceof Violation)) throw error
  } finally {
    enter(undefined)
    uninstall()
    // Those of killed workers.
    for (const listener of process.listeners("unhandledRejection")) if (!listeners.includes(listener)) process.off("unhandledRejection", listener)
  }
  return { seed, violation: history.violation, events: history.time.events, trace: history.trace }
}

class History {
  readonly time: VirtualTime
  readonly trace: string[] = []
  violation: string | undefined
  readonly #random: Random
  readonly #database: SimulatedDatabase
  readonly #network: Network
  readonly #workers: SimulatedWorker[] = []
  readonly #stage: Stage
  readonly #say: (line: () => string) => void
  readonly #leaseMs: number
  readonly #pollMs: number
  readonly #told = new Set<string>()
  #over = false
  readonly #listeners = process.listenerCount("unhandledRejection")
  /** The share of hints that get lost. */
  #lostHints = 0

  constructor(random: Random, tell: boolean) {
    this.#random = random
    this.time = new VirtualTime(random)
    this.#say = tell ? (line) => this.trace.push(`${(this.time.now - 1_000).toFixed(1).padStart(9)}  ${line()}`) : () => undefined
    this.#leaseMs = random.pick([1_000, 2_000, 5_000])
    this.#pollMs = random.pick([500, 2_000, 5_000])
    const violated = (what: string): void => {
      this.#say(() => `VIOLATION ${what}`)
      this.violation ??= what
    }
    this.#database = new SimulatedDatabase({ time: this.time, random, violated, notify: (message, worker) => this.#notify(message, worker) })
    this.#network = new Network({ time: this.time, random, database: this.#database, trace: this.#say })
    this.#stage = {
      network: this.#network,
      database: this.#database,
      workers: this.#workers,
      violated,
      storm: true,
      held: { count: 0, go: [] },
    }
    enter(this.#stage)
  }

  async run(): Promise<void> {
    const random = this.#random
    for (let n = random.int(1, 3); n > 0; n--) this.#startWorker()
    if (random.chance(0.85)) {
      // Each kind of fault alone, or together with others.
      const share = (most: number): number => (random.chance() ? random.next() * most : 0)
      this.#network.weather = {
        breaks: share(0.1),
        silence: share(0.05),
        refused: share(0.1),
        unreachable: share(0.3),
        latency: random.pick([2, 10, 60]),
      }
      this.#lostHints = random.pick([0, 0.1, 1])
      this.#database.lockedShare = random.pick([0, 0.2])
    }
    const stormMs = random.int(500, 6_000)
    for (let jobs = random.pick([5, 20, 60]); jobs > 0; jobs--) this.time.in(random.next() * stormMs, () => this.#enqueue())
    // Much at once, and pauses while it is worked off.
    if (random.chance(0.2)) {
      const queue = random.pick(QUEUES)
      const at = 200 + random.next() * 300
      this.time.in(at, () => {
        for (let i = 0; i < 12; i++) this.#enqueue(false, queue, 25)
      })
      for (let i = 0; i < 4; i++) this.time.in(at + random.next() * 150, () => this.#pause(random.pick(this.#workers), random.int(5, 100)))
    }
    for (let acts = random.int(0, 6); acts > 0; acts--) this.time.in(random.next() * stormMs, () => this.#act())
    await this.#until(this.time.now + stormMs)

    this.#calm()
    await this.#until(
      // A claim that reached the database after its worker had given it up is searched for once a minute.
      this.time.now + 90_000 + 6 * this.#leaseMs + 2 * this.#pollMs + 45_000,
      () => this.#database.jobs.size === 0 && this.#workers.every((w) => w.state !== "ending" && w.state !== "starting"),
    )
    for (const job of this.#database.jobs.values()) this.#violated(`stuck: ${job.id} (${job.task}) is ${job.state}`)
    for (const worker of this.#workers) if (worker.state === "ending") this.#violated(`${worker.name} does not stop`)
    await this.#lastAct()
    await this.#end()
    if (this.#database.finished.size !== this.#database.accepted) this.#violated("a job was lost")
  }

  async #until(at: number, done: () => boolean = () => false): Promise<void> {
    await this.time.run(at, () => this.violation !== undefined || done())
    if (this.violation !== undefined) throw new Violation(this.violation)
  }

  #violated(what: string): void {
    this.#stage.violated(what)
    throw new Violation(what)
  }

  get #live(): SimulatedWorker[] {
    return this.#workers.filter((w) => w.state === "starting" || w.state === "running")
  }

  #startWorker(): void {
    const random = this.#random
    const name = `worker ${this.#workers.length + 1}`
    const worker = new SimulatedWorker({
      name,
      network: this.#network,
      options: {
        queues: new Map(QUEUES.map((queue) => [queue, random.int(1, 6)])),
        concurrency: random.chance(0.3) ? random.int(1, 8) : Number.POSITIVE_INFINITY,
        signals: false,
        drainTimeoutMs: random.pick([200, 5_000]),
        pollMs: this.#pollMs,
        leaseMs: this.#leaseMs,
        claimMs: this.#leaseMs * 0.75,
        answerMs: 5_000,
        onStart: undefined,
        onStop: undefined,
      },
      hints: (queue) =>
        new HintWatch(
          () => this.time.tick(),
          (what) => this.#stage.violated(`${name}, queue ${queue}: ${what}`),
        ),
      gaveUp: () =>
        this.time.in(500, () => {
          if (!this.#over && this.#live.length === 0) this.#startWorker()
        }),
      event: (event) => this.#event(name, event),
      log: (level, message, fields) => {
        this.#say(() => `${name} ${level}: ${message} ${JSON.stringify(fields ?? {}, (_, v) => (v instanceof Error ? v.message : v))}`)
        if (message.startsWith("jobs were claimed and the answer was lost")) this.#database.forgotten((fields as { jobs: string[] }).jobs)
      },
    })
    this.#workers.push(worker)
    worker.start()
  }

  // ── What others do ───────────────────────────────────────────────────────────────────────────────────────────────────

  #enqueue(held = false, queue: (typeof QUEUES)[number] = this.#random.pick(QUEUES), count?: number): void {
    const random = this.#random
    const limited = !held && random.chance(0.15)
    const task = `${queue}.${held ? "held" : limited ? "limited" : random.chance(0.2) ? "timed" : "plain"}`
    const many = count ?? (!held && random.chance(0.15) ? random.int(2, 25) : 1)
    for (let i = 0; i < many; i++) {
      const draft = {
        seq: this.#database.nextSeq(),
        queue,
        priority: random.pick([0, 0, 5]),
        task,
        group: limited ? random.int(1, 3) : undefined,
        maxAttempts: 4,
        delayMs: !held && random.chance(0.1) ? random.int(1, 2_000) : 0,
        ttlMs: !held && random.chance(0.05) ? random.int(1, 3_000) : Number.POSITIVE_INFINITY,
      }
      // Its number is taken when its transaction begins, and it is seen when that commits.
      this.time.in(random.chance(0.1) && !held ? random.next() * 300 : 0, () => {
        const job = this.#database.insert(draft)
        this.#say(() => `${job.id} enqueued: ${task}, priority ${job.priority}, seq ${job.seq}`)
        if (draft.delayMs > 0) this.#database.wakeDue(draft.delayMs)
        else this.#database.wakeLane(queue, limited ? 32_768 : job.priority, limited ? 0 : job.seq)
      })
    }
  }

  #act(): void {
    const random = this.#random
    const worker = random.pick(this.#workers)
    const some = random.shuffle([...this.#database.jobs.keys()]).slice(0, random.int(1, 5))
    const say = (what: string): void => this.#say(() => `— ${what}`)
    switch (random.int(0, 13)) {
      case 0:
      case 1: {
        say(`cancelled: ${some.join(", ")}`)
        const running = some.filter((id) => this.#database.cancel(id))
        if (running.length > 0) this.#notify(["c", running])
        return
      }
      case 2:
        say(`removed: ${some.join(", ")}`)
        for (const id of some) this.#database.remove(id)
        this.#notify(["c", some])
        return
      case 3: {
        const ms = random.int(100, 2 * this.#leaseMs)
        say(`all connections break; none for ${ms} ms`)
        this.#network.outage(ms)
        return
      }
      case 13: {
        const [ms, after] = [random.int(100, 2 * this.#leaseMs), random.pick([0, 0, 1, 5, 50])]
        say("the server crashes after the next claim")
        this.#database.onClaimed = () =>
          this.time.in(after, () => {
            if (!this.#stage.storm) return
            this.#say(() => `— the server crashes, and is away for ${ms} ms`)
            this.#database.crash()
            this.#network.outage(ms)
          })
        return
      }
      case 10:
      case 11: {
        if (!worker.alive) return
        const ms = random.int(100, 4 * this.#leaseMs)
        say(`${worker.name} is cut off for ${ms} ms`)
        this.#network.outage(ms, worker.process)
        return
      }
      case 4: {
        if (!worker.alive) return
        const ms = random.int(100, 2 * this.#leaseMs)
        say(`${worker.name} is blocked for ${ms} ms`)
        this.time.as(worker.process, () => block(this.#network, ms))
        return
      }
      case 5:
        if (!worker.alive) return
        say(`${worker.name} is killed`)
        worker.kill()
        return
      case 6:
        if (this.#workers.length >= 5) return
        say("a worker starts")
        this.#startWorker()
        return
      case 7: {
        if (worker.state !== "running" && !(worker.state === "starting" && random.chance(0.3))) return
        const how = random.pick(["drain", "stop"] as const)
        say(`${worker.name}: ${how}()`)
        worker.end(how)
        return
      }
      case 8:
        this.#pause(worker, random.int(10, 3_000))
        return
      case 9:
        if (!worker.alive) return
        say(`${worker.name} hears no notifications`)
        worker.deafen()
        this.time.in(random.int(10, 3_000), () => worker.hear())
        return
      default:
        this.#network.weather = { ...this.#network.weather, latency: random.pick([2, 200]) }
    }
  }

  #pause(worker: SimulatedWorker, ms: number): void {
    if (worker.state !== "running") return
    this.#say(() => `— ${worker.name} is paused`)
    const pause = (): void => {
      if (!this.#stage.storm) return
      worker.worker.pause()
      worker.paused = true
    }
    this.time.in(0, pause, worker.process)
    this.time.in(ms, () => this.#resume(worker))
  }

  #resume(worker: SimulatedWorker): void {
    this.time.in(
      0,
      () => {
        if (!worker.paused) return
        worker.paused = false
        worker.worker.resume()
      },
      worker.process,
    )
  }

  /** To all workers, or to one. */
  #notify(message: readonly unknown[], only?: string): void {
    for (const worker of this.#workers) {
      if (!worker.alive || (only !== undefined && worker.worker.id !== only) || this.#random.chance(this.#lostHints)) continue
      worker.notify(message, only !== undefined)
      if (this.#stage.storm && this.#random.chance(0.05)) worker.notify(message, only !== undefined)
    }
  }

  /** What a worker tells must be so, and be told once. */
  #event(worker: string, { name, id, attempt }: JobEvent): void {
    const finished = this.#database.finished.get(id)
    const what = `${worker} tells ${name} of ${id}, attempt ${attempt}`
    if (name === "job:completed" || name === "job:failed" || name === "job:cancelled") {
      if (finished?.state !== name.slice(4) && finished?.state !== "removed") this.#stage.violated(`${what}; it is ${finished?.state ?? "not ended"}`)
      if (this.#told.has(`${name} ${id}`)) this.#stage.violated(`${what} twice`)
      this.#told.add(`${name} ${id}`)
    }
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #calm(): void {
    this.#say(() => "— from now on no more faults")
    this.#stage.storm = false
    this.#network.weather = CALM
    this.#network.outageUntil = 0
    for (const { process } of this.#workers) process.cutOffUntil = 0
    this.#lostHints = 0
    this.#database.lockedShare = 0
    for (const worker of this.#live) {
      worker.hear()
      this.#resume(worker)
    }
    if (this.#live.length === 0) this.#startWorker()
  }

  /** As many jobs as there are slots must run at once: none leaked. */
  async #lastAct(): Promise<void> {
    const free = Math.max(this.time.now, ...this.#live.map((w) => w.process.blockedUntil + this.#leaseMs))
    await this.#until(free + 1_500)
    const { held } = this.#stage
    let slots = 0
    const count = new Map<string, number>()
    for (const { options } of this.#live) {
      const queues = [...options.queues.entries()]
      let left = options.concurrency
      for (const [queue, n] of queues) {
        const here = Math.min(n, left)
        left -= here
        slots += here
        count.set(queue, (count.get(queue) ?? 0) + n)
      }
    }
    this.#say(() => `— ${slots} slots are to be filled`)
    for (const [queue, n] of count) for (let i = 0; i < n; i++) this.#enqueue(true, queue as (typeof QUEUES)[number])
    // A connection that is being made into the void is given up after ten seconds.
    await this.#until(this.time.now + 2 * this.#pollMs + 17_000, () => held.count >= slots)
    if (held.count < slots) this.#violated(`${slots} slots, and only ${held.count} jobs run at once`)
    const release = (): void => {
      for (const go of held.go.splice(0)) go()
    }
    release()
    // A claim whose bytes arrive long after its connection was given up takes jobs of which nobody knows: that is looked for once a minute.
    await this.#until(this.time.now + 75_000, () => {
      release()
      return this.#database.jobs.size === 0
    })
    if (this.#database.jobs.size > 0) this.#violated("the last jobs do not end")
  }

  async #end(): Promise<void> {
    this.#over = true
    const last = this.#live
    for (const worker of last) worker.end(this.#random.pick(["drain", "stop"]))
    await this.#until(this.time.now + 40_000, () => this.#workers.every((w) => !w.alive))
    const left = process.listenerCount("unhandledRejection") - this.#listeners
    if (left > 0 && this.#workers.every((w) => w.state !== "killed"))
      this.#violated(`all workers have stopped and ${left} still listen to the process`)
    for (const worker of this.#workers) {
      const { name, state, pools } = worker
      if (worker.alive) this.#violated(`${name} does not stop`)
      if (state === "killed") continue
      if (this.#database.workers.has(worker.worker.id) && last.includes(worker)) this.#violated(`${name} has stopped and its row is there`)
      for (const count of worker.running.values()) if (count !== 0) this.#violated(`${name} has stopped and handlers run`)
      // The client's own pool, the first, is not the worker's to end.
      for (const pool of pools) if (pool.busy > 0) this.#violated(`${name} has stopped and keeps a connection`)
      for (const pool of pools.slice(1)) if (!pool.ended) this.#violated(`${name} has stopped and its pool has not`)
      const timers = worker.process.timers.size
      if (timers > 0) this.#violated(`${name} has stopped and ${timers} timers keep the process alive`)
    }
  }
}
