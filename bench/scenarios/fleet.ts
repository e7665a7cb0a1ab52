/** Many workers of one queue, each in a process of its own: what they cost while there is nothing to do, and for each job, and who gets the jobs. */
import { BLOCK, BLOCK_MS, BLOCKS_AFTER_MS, HOLD } from "../fleet/child.js"
import { COUNTED_AFTER_MS, Counters, Ear } from "../fleet/counters.js"
import { Fleet } from "../fleet/fleet.js"
import type { Member } from "../fleet/member.js"
import { moduleOf } from "../peers/all.js"
import { type Contestant, FLEET_SLOTS, type FleetSetting, type Servers, type Store } from "../peers/peer.js"
import { FLEET_CONNECTIONS } from "../servers.js"
import { percentile } from "../statistics.js"
import { clock, type Line, type Metrics, type Scenario, sleep } from "./scenario.js"

/** What is measured, and for how long. */
export interface FleetPlan {
  /** Workers, growing. */
  readonly sizes: readonly number[]
  /** Of these, which have a worker that is busy, blocked, paused, stopped or dead. */
  readonly faultSizes: readonly number[]
  /** Of these, which are more than a measurement of pickup. */
  readonly wholeSizes: readonly number[]
  readonly settleMs: number
  readonly idleMs: number
  /** How long to wait for the server's count of transactions. */
  readonly countedAfterMs: number
  /** One at a time. */
  readonly jobs: number
  readonly flowMs: number
  readonly burst: number
}

const SIZES = [1, 5, 18, 50]
/** Jobs of which only the starts are counted: connections are opened and statements planned. */
const WARM_UP = 10
/** Between the end of a job and the next one, so that its worker is idle again. */
const PAUSE_MS = { least: 5, most: 25 }
const FLOW_PER_SECOND = 250
const BURST_HANDLER_MS = 5
/** Workers that are killed, one after the other, in front of the next jobs. */
const KILLS = 3

export const fleet: Scenario = {
  name: "fleet",
  title: "fleets: many workers of one queue, each in a process of its own",
  metric: "claimsPerJob@50",
  shown: [
    "idlePerWorker",
    "connectionsPerWorker",
    "claimsPerJob",
    "statementsPerJob",
    "transactionsPerJob",
    "notificationsPerJob",
    "p50Ms",
    "p99Ms",
    "maxMs",
    "flowClaimsPerJob",
    "flowLeast",
    "flowMost",
    "burstClaimsPerJob",
    "burstLeast",
    "burstMost",
  ],
  better: "lower",
  jobs: 150,
  mostJobs: 2_000,
  rounds: 1,
  needs: { statements: true, connections: FLEET_CONNECTIONS },
  takes: (contestant) => contestant.fleet !== undefined,
  lines,
  measure(contestant, { servers, jobs }): Promise<Metrics> {
    const ours = contestant.peer === "pgtusk"
    return measureFleet(contestant, servers, {
      sizes: ours ? SIZES : [1, 50],
      faultSizes: ours ? [5, 50] : [],
      wholeSizes: ours ? SIZES : [50],
      // By then each session has counted what it did when it started: it does so once it has been idle for ten seconds.
      settleMs: 12_000,
      idleMs: 20_000,
      countedAfterMs: COUNTED_AFTER_MS,
      jobs,
      flowMs: 3_000,
      burst: 3_000,
    })
  },
}

/** Metrics are called `name@line`. */
function lines(metrics: Metrics): Line[] {
  const found = new Map<string, Record<string, number>>()
  for (const [key, value] of Object.entries(metrics)) {
    const [name, line] = key.split("@")
    if (line !== undefined) found.set(line, { ...found.get(line), [name!]: value })
  }
  return [...found].map(([line, of]) => {
    const [size, fault] = line.split(" ")
    return { label: `${size} ${size === "1" ? "worker" : "workers"}${fault === undefined ? "" : `, one ${fault}`}`, metrics: of }
  })
}

/** @throws when a job did not run, or ran twice */
export async function measureFleet(contestant: Contestant, servers: Servers, plan: FleetPlan): Promise<Metrics> {
  await empty(contestant, servers)
  const counters = await Counters.open(servers, contestant.fleet!)
  const workers = await Fleet.open(contestant, servers, moduleOf(contestant.peer))
  const measurement = new Measurement(contestant, servers, contestant.fleet!, plan, counters, workers)
  try {
    for (const size of plan.sizes) {
      const known = new Set(Object.keys(measurement.metrics))
      await measurement.size(size)
      // It takes minutes: what there is so far.
      const found = Object.entries(measurement.metrics).flatMap(([key, value]) => (known.has(key) ? [] : [`${key} ${Number(value.toPrecision(4))}`]))
      process.stderr.write(`  fleet of ${contestant.name}: ${found.join(", ")}\n`)
    }
    await workers.stop()
    workers.verify()
    return measurement.metrics
  } finally {
    await workers.stop()
    await counters.close()
    await empty(contestant, servers)
  }
}

/** Makes the tables, with no jobs in them. */
async function empty(contestant: Contestant, servers: Servers): Promise<void> {
  const store = await contestant.open(servers, "plain")
  try {
    await store.clear()
  } finally {
    await store.close()
  }
}

class Measurement {
  readonly metrics: Record<string, number> = {}
  readonly #contestant: Contestant
  readonly #servers: Servers
  readonly #fleetSetting: FleetSetting
  readonly #plan: FleetPlan
  readonly #counters: Counters
  readonly #workers: Fleet
  #jobs = 0
  #special = 0

  constructor(contestant: Contestant, servers: Servers, fleetSetting: FleetSetting, plan: FleetPlan, counters: Counters, workers: Fleet) {
    this.#contestant = contestant
    this.#servers = servers
    this.#fleetSetting = fleetSetting
    this.#plan = plan
    this.#counters = counters
    this.#workers = workers
  }

  async size(size: number): Promise<void> {
    await this.#workers.grow(size)
    const whole = this.#plan.wholeSizes.includes(size)
    await sleep(this.#plan.settleMs)
    const idlePerSecond = whole ? await this.#idle(size) : undefined
    // In this process, which has no worker, and not there while the fleet is idle: its connections are no worker's.
    const store = await this.#contestant.open(this.#servers, "plain")
    try {
      await this.#oneAtATime(store, size, idlePerSecond)
      if (whole) {
        await this.#flow(store, size)
        await this.#burst(store, size)
      }
      if (this.#plan.faultSizes.includes(size)) await this.#faults(store, size)
    } finally {
      await store.close()
    }
  }

  async #idle(size: number): Promise<number> {
    const before = await this.#counters.now()
    await sleep(this.#plan.idleMs)
    const after = await this.#counters.now()
    const perSecond = (after.transactions - before.transactions) / (after.at - before.at)
    this.metrics[`idlePerWorker@${size}`] = perSecond / size
    this.metrics[`connectionsPerWorker@${size}`] = (await this.#counters.connections()) / size
    return perSecond
  }

  async #oneAtATime(store: Store, size: number, idlePerSecond: number | undefined): Promise<void> {
    const { jobs } = this.#plan
    await this.#workers.all({ handlerMs: 0 })
    await this.#pickups(store, WARM_UP)
    const ear = await Ear.open(this.#servers, this.#fleetSetting.channels)
    try {
      // What the sessions have not told yet of the warm-up.
      if (idlePerSecond !== undefined) {
        await sleep(1_500)
        await this.#pickups(store, 2)
      }
      const before = await this.#counters.now()
      const [notifications, arrivals] = [ear.notifications, ear.arrivals]
      this.#pickup(`${size}`, await this.#pickups(store, jobs))
      await sleep(100)
      const after = await this.#counters.now()
      this.metrics[`claimsPerJob@${size}`] = (after.claims - before.claims) / jobs
      this.metrics[`statementsPerJob@${size}`] = (after.statements - before.statements) / jobs
      this.metrics[`notificationsPerJob@${size}`] = (ear.notifications - notifications) / jobs
      if (idlePerSecond === undefined) return
      await sleep(this.#plan.countedAfterMs)
      await ear.close()
      const late = await this.#counters.now()
      const own = ear.arrivals - arrivals + idlePerSecond * (late.at - before.at)
      this.metrics[`transactionsPerJob@${size}`] = (late.transactions - before.transactions - own) / jobs
    } finally {
      await ear.close()
    }
  }

  /**
   * Half of the fleet's slots busy: so many callers, each of which enqueues its next job when the handler of its last one is over. Handlers are long
   * enough that all of them together make no more than FLOW_PER_SECOND.
   */
  async #flow(store: Store, size: number): Promise<void> {
    const callers = (size * FLEET_SLOTS) / 2
    const handlerMs = Math.round((callers / FLOW_PER_SECOND) * 1_000)
    await this.#workers.all({ handlerMs })
    const first = this.#jobs
    let over = false
    const call = async (_: unknown, caller: number): Promise<void> => {
      await sleep((caller / callers) * handlerMs)
      while (!over) {
        const n = this.#jobs
        await this.#add(store)
        await this.#workers.began(n)
        await sleep(handlerMs)
      }
    }
    const calls = Promise.all(Array.from({ length: callers }, call))
    // Until all of them have begun, and the workers know how long their handlers take.
    await Promise.race([sleep(2 * handlerMs + 500), calls])
    this.#workers.forgetCounts()
    const before = await this.#counters.now()
    await Promise.race([sleep(this.#plan.flowMs), calls])
    const after = await this.#counters.now()
    const began = this.#workers.members.map((member) => member.began)
    over = true
    this.metrics[`flowClaimsPerJob@${size}`] = (after.claims - before.claims) / began.reduce((sum, count) => sum + count, 0)
    this.metrics[`flowLeast@${size}`] = Math.min(...began)
    this.metrics[`flowMost@${size}`] = Math.max(...began)
    await calls
    await this.#ended(store, first)
  }

  async #burst(store: Store, size: number): Promise<void> {
    await this.#workers.all({ handlerMs: BURST_HANDLER_MS })
    this.#workers.forgetCounts()
    const { burst } = this.#plan
    const first = this.#jobs
    this.#jobs += burst
    const before = await this.#counters.now()
    for (let i = 0; i < burst; i += 1_000) {
      await store.addMany(Array.from({ length: Math.min(1_000, burst - i) }, (_, k) => first + i + k))
    }
    await this.#ended(store, first)
    const after = await this.#counters.now()
    const began = this.#workers.members.map((member) => member.began)
    this.metrics[`burstClaimsPerJob@${size}`] = (after.claims - before.claims) / burst
    this.metrics[`burstLeast@${size}`] = Math.min(...began)
    this.metrics[`burstMost@${size}`] = Math.max(...began)
  }

  /** One worker is not to be had: of those that are idle, the one that would most likely get the next job. */
  async #faults(store: Store, size: number): Promise<void> {
    await this.#workers.all({ handlerMs: 0 })
    const { jobs } = this.#plan
    const record = (fault: string, times: readonly number[]): void => this.#pickup(`${size} ${fault}`, times)

    const busy = await this.#favourite(store)
    const others = this.#workers.members.filter((member) => member !== busy)
    await this.#workers.all("pause", others)
    await this.#beginAll(store, FLEET_SLOTS, HOLD)
    await this.#workers.all("resume", others)
    await sleep(500)
    record("busy", await this.#pickups(store, jobs))
    await busy.do("release")

    const first = this.#jobs
    const [{ member: blocked, at }] = (await this.#beginAll(store, 1, BLOCK)) as [{ member: Member; at: number }]
    const blockedUntil = at + BLOCKS_AFTER_MS + BLOCK_MS
    await sleep(2 * BLOCKS_AFTER_MS)
    record("blocked", await this.#pickups(store, jobs, blockedUntil - 500))
    await sleep(Math.max(0, blockedUntil - clock()))
    await blocked.do("resume")
    await this.#ended(store, first)

    const paused = await this.#favourite(store)
    await paused.do("pause")
    record("paused", await this.#pickups(store, jobs))
    await paused.do("resume")

    const stopped = await this.#favourite(store)
    await sleep(200)
    stopped.signal("SIGSTOP")
    record("stopped", await this.#pickups(store, jobs))
    stopped.signal("SIGCONT")
    await stopped.do("resume")

    const times: number[] = []
    for (let kills = 0; kills < Math.min(KILLS, size - 1); kills++) {
      const killed = await this.#favourite(store)
      await sleep(200)
      this.#workers.kill(killed)
      times.push(...(await this.#pickups(store, Math.ceil(jobs / KILLS))))
    }
    record("killed", times)
  }

  #pickup(line: string, times: readonly number[]): void {
    this.metrics[`p50Ms@${line}`] = percentile(times, 0.5)
    this.metrics[`p99Ms@${line}`] = percentile(times, 0.99)
    this.metrics[`maxMs@${line}`] = Math.max(...times)
  }

  /** From the call to the start of the handler, one job at a time, so many of them, or until then. */
  async #pickups(store: Store, count: number, until = Number.POSITIVE_INFINITY): Promise<number[]> {
    const times: number[] = []
    while (times.length < count && clock() < until) {
      const n = this.#jobs
      const at = clock()
      await this.#add(store)
      times.push((await this.#workers.began(n)).at - at)
      await sleep(PAUSE_MS.least + Math.random() * (PAUSE_MS.most - PAUSE_MS.least))
    }
    return times
  }

  /** Who has run most of the last jobs. */
  async #favourite(store: Store): Promise<Member> {
    this.#workers.forgetCounts()
    await this.#pickups(store, 20)
    return this.#workers.members.reduce((best, member) => (member.began >= best.began ? member : best))
  }

  async #beginAll(store: Store, count: number, kind: number): Promise<{ member: Member; at: number }[]> {
    const numbers = Array.from({ length: count }, () => kind + this.#special++)
    await Promise.all(numbers.map((n) => store.add(n)))
    return Promise.all(numbers.map((n) => this.#workers.began(n)))
  }

  #add(store: Store): Promise<unknown> {
    return store.add(this.#jobs++)
  }

  /** All jobs from this one on have begun and are recorded as ended. */
  async #ended(store: Store, first: number): Promise<void> {
    for (let n = first; n < this.#jobs; n++) await this.#workers.began(n)
    for (let i = 0; (await store.unfinished()) > 0; i++) {
      if (i > 600) throw new Error(`${this.#contestant.name}: the fleet's jobs are not recorded as ended`)
      await sleep(50)
    }
  }
}
