/** Runs scenarios, round by round: each takes all contestants in turn, so that what else the machine does hits all alike. */

import type { Asked } from "./cli.js"
import { contestantsOf } from "./peers/all.js"
import type { Contestant } from "./peers/peer.js"
import { scenarios } from "./scenarios/all.js"
import { drain } from "./scenarios/drain.js"
import type { Metrics, Scenario } from "./scenarios/scenario.js"
import { type Started, startServers } from "./servers.js"
import { median } from "./statistics.js"

/** Metrics of a contestant, by scenario and contestant: medians over the rounds. */
export type Measured = Record<string, Record<string, Metrics>>

export interface Outcome {
  readonly measured: Measured
  readonly contestants: readonly Contestant[]
  readonly postgres: string
  readonly redis: string | null
  /** Of the machine, as `Context` has it. */
  readonly speed: number
}

export interface Wanted extends Pick<Asked, "only" | "peers" | "jobs" | "repeat" | "server"> {
  /** Leave rounds out, and give slow machines fewer jobs, so that all of it ends in time. */
  readonly bounded: boolean
}

/** Of the whole, with what comes before and after it, in under 20 minutes. */
const BUDGET_SECONDS = 18 * 60
/** What the floor drains in a short run on the machine on which rates were noted. */
const NOTED_RATE = 35_000

/** @throws when a job of any contestant did not run exactly once */
export async function run(wanted: Wanted, say: Say): Promise<Outcome> {
  const all = await contestantsOf(wanted.peers)
  const servers = await startServers(all, say, wanted.server)
  const began = performance.now()
  try {
    const contestants = all.filter((contestant) => !servers.missing(contestant))
    const rounds = new Rounds(contestants, servers, wanted, say)
    const asked = scenarios.filter(({ name }) => wanted.only === null || wanted.only.includes(name))
    const chosen = asked.filter(({ name, needs = {} }) => {
      const lacks = [
        ...(needs.statements === true && !servers.statements ? ["pg_stat_statements"] : []),
        ...(needs.connections !== undefined && needs.connections > servers.maxConnections ? [`max_connections = ${needs.connections}`] : []),
        ...(needs.postgres !== undefined && needs.postgres > Number.parseInt(servers.postgresVersion, 10) ? [`PostgreSQL ${needs.postgres}`] : []),
      ]
      if (lacks.length > 0) say(`!!!! ${name} is left out: it needs ${lacks.join(" and ")} !!!!`)
      return lacks.length === 0
    })
    if (wanted.bounded || chosen.some(({ warm }) => warm)) await rounds.warmUp()
    const samples = chosen.map((scenario) => new Samples(scenario))
    // A round of each, and another of each: what passes in a minute hits one round of a scenario, and not all.
    for (let round = 0; round < wanted.repeat; round++) {
      for (const one of samples) {
        if (one.done !== round || round >= (one.scenario.rounds ?? wanted.repeat)) continue
        const over = round > 0 && wanted.bounded && (performance.now() - began) / 1_000 + one.longestSeconds > BUDGET_SECONDS
        if (!over) await rounds.next(one)
      }
    }
    const measured: Measured = Object.fromEntries(samples.map((one) => [one.scenario.name, one.medians()]))
    return { measured, contestants, postgres: servers.postgresVersion, redis: servers.redisVersion, speed: rounds.speed }
  } finally {
    await servers.stop()
  }
}

type Say = (line: string) => void

class Rounds {
  /** Of this machine, as `Context` has it. */
  speed = 1
  readonly #contestants: readonly Contestant[]
  readonly #servers: Started
  readonly #wanted: Wanted
  readonly #say: Say

  constructor(contestants: readonly Contestant[], servers: Started, wanted: Wanted, say: Say) {
    this.#contestants = contestants
    this.#servers = servers
    this.#wanted = wanted
    this.#say = say
  }

  /** So that the first round is like the others; and how fast this machine is just now. */
  async warmUp(): Promise<void> {
    for (const contestant of this.#contestants.filter(({ drains }) => drains > 5_000)) {
      await drain.measure(contestant, {
        servers: await this.#servers.serversFor(contestant),
        jobs: Math.min(5_000, this.#wanted.jobs ?? 5_000),
        speed: 1,
      })
    }
    const floor = this.#contestants.find(({ name }) => name === "floor")!
    if (this.#wanted.bounded) {
      const metrics = await drain.measure(floor, { servers: await this.#servers.serversFor(floor), jobs: 20_000, speed: 1 })
      this.speed = Math.min(1, metrics["jobsPerSecond"]! / NOTED_RATE)
    }
    if (this.speed < 1) this.#say(`bench: this machine, or what else it does, is slow: about ${this.speed.toFixed(2)} of the usual`)
  }

  async next(samples: Samples): Promise<void> {
    const began = performance.now()
    const { scenario, done } = samples
    const taking = this.#contestants.filter((contestant) => scenario.takes(contestant))
    // There and back, so that nobody always follows the same one.
    for (const contestant of done % 2 === 0 ? taking : taking.reverse()) {
      const metrics = await scenario.measure(contestant, {
        servers: await this.#servers.serversFor(contestant),
        jobs: this.#jobsOf(scenario),
        speed: this.speed,
      })
      samples.add(contestant.name, metrics)
      this.#say(
        `  ${scenario.name} ${done + 1}/${this.#wanted.repeat} ${contestant.name}: ${scenario.metric} ${metrics[scenario.metric]?.toFixed(2)}`,
      )
    }
    samples.ended((performance.now() - began) / 1_000)
    this.#say(`${scenario.name}: round ${samples.done} took ${((performance.now() - began) / 1_000).toFixed(0)} s`)
  }

  #jobsOf({ jobs, mostJobs = Number.POSITIVE_INFINITY }: Scenario): number {
    if (this.#wanted.jobs !== null) return Math.min(this.#wanted.jobs, mostJobs)
    return jobs > 10_000 ? Math.round(jobs * this.speed) : jobs
  }
}

/** What the rounds of a scenario gave. */
class Samples {
  readonly scenario: Scenario
  /** Rounds. */
  done = 0
  longestSeconds = 0
  readonly #metrics = new Map<string, Metrics[]>()

  constructor(scenario: Scenario) {
    this.scenario = scenario
  }

  add(contestant: string, metrics: Metrics): void {
    this.#metrics.set(contestant, [...(this.#metrics.get(contestant) ?? []), metrics])
  }

  ended(seconds: number): void {
    this.done++
    this.longestSeconds = Math.max(this.longestSeconds, seconds)
  }

  /** Of each contestant. */
  medians(): Record<string, Metrics> {
    // In the order of the first round.
    return Object.fromEntries([...this.#metrics].map(([name, rows]) => [name, { ...medians(rows), rounds: this.done }]))
  }
}

function medians(rows: readonly Metrics[]): Metrics {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return Object.fromEntries(keys.map((key) => [key, median(rows.flatMap((row) => row[key] ?? []))]))
}
