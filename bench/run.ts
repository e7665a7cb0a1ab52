/** Runs scenarios: each round takes all contestants in turn, so that what else the machine does hits all alike. */

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

export interface Wanted extends Pick<Asked, "only" | "peers" | "jobs" | "repeat"> {
  /** Leave rounds out, and give slow machines fewer jobs, so that all of it ends in time. */
  readonly bounded: boolean
}

/** Of the whole, with what comes before and after it, in under 15 minutes. */
const BUDGET_SECONDS = 13 * 60
/** What the floor drains in a short run on the machine on which rates were noted. */
const NOTED_RATE = 35_000

/** @throws when a job of any contestant did not run exactly once */
export async function run(wanted: Wanted, say: Say): Promise<Outcome> {
  const all = await contestantsOf(wanted.peers)
  const servers = await startServers(all, say)
  const began = performance.now()
  try {
    const contestants = all.filter((contestant) => !servers.missing(contestant))
    const rounds = new Rounds(contestants, servers, wanted, say)
    const chosen = scenarios.filter(({ name }) => wanted.only === null || wanted.only.includes(name))
    if (wanted.bounded || chosen.some(({ warm }) => warm)) await rounds.warmUp()
    const measured: Measured = {}
    for (const [i, scenario] of chosen.entries()) {
      // Slow machines get fewer jobs, so they are not much slower in this.
      const later = chosen.slice(i + 1).reduce((sum, { seconds }) => sum + seconds, 0) * Math.min(1.5, 1 / rounds.speed)
      measured[scenario.name] = await rounds.of(scenario, (seconds) => (performance.now() - began) / 1_000 + seconds + later < BUDGET_SECONDS)
    }
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

  async of(scenario: Scenario, isTime: (seconds: number) => boolean): Promise<Record<string, Metrics>> {
    const began = performance.now()
    const taking = this.#contestants.filter((contestant) => scenario.takes(contestant))
    const samples = new Map<string, Metrics[]>(taking.map(({ name }) => [name, []]))
    const rounds = Math.min(this.#wanted.repeat, scenario.rounds ?? Number.POSITIVE_INFINITY)
    let done = 0
    for (; done < rounds; done++) {
      const seconds = (performance.now() - began) / 1_000
      if (done > 0 && this.#wanted.bounded && !isTime(seconds / done)) break
      // There and back, so that nobody always follows the same one.
      for (const contestant of done % 2 === 0 ? taking : [...taking].reverse()) {
        const metrics = await scenario.measure(contestant, {
          servers: await this.#servers.serversFor(contestant),
          jobs: this.#jobsOf(scenario),
          speed: this.speed,
        })
        samples.get(contestant.name)!.push(metrics)
        this.#say(`  ${scenario.name} ${done + 1}/${rounds} ${contestant.name}: ${scenario.metric} ${metrics[scenario.metric]?.toFixed(2)}`)
      }
    }
    this.#say(
      `${scenario.name}: ${((performance.now() - began) / 1_000).toFixed(0)} s${done < rounds ? `, ${done} of ${rounds} rounds, for want of time` : ""}`,
    )
    return Object.fromEntries([...samples].map(([name, rows]) => [name, { ...medians(rows), rounds: done }]))
  }

  #jobsOf({ jobs, mostJobs = Number.POSITIVE_INFINITY }: Scenario): number {
    if (this.#wanted.jobs !== null) return Math.min(this.#wanted.jobs, mostJobs)
    return jobs > 10_000 ? Math.round(jobs * this.speed) : jobs
  }
}

function medians(rows: readonly Metrics[]): Metrics {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return Object.fromEntries(keys.map((key) => [key, median(rows.flatMap((row) => row[key] ?? []))]))
}
