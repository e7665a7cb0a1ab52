/** Runs scenarios: each round takes all contestants in turn, so that what else the machine does hits all alike. */

import { contestantsOf } from "./peers/all.js"
import type { Contestant } from "./peers/peer.js"
import { scenarios } from "./scenarios/all.js"
import { type Metrics, median, type Scenario } from "./scenarios/scenario.js"
import { startServers } from "./servers.js"

/** Metrics of a contestant, by scenario and contestant: medians over the rounds. */
export type Measured = Record<string, Record<string, Metrics>>

export interface Outcome {
  readonly measured: Measured
  readonly contestants: readonly Contestant[]
  readonly postgres: string
  readonly redis: string | null
}

export interface Wanted {
  readonly only: readonly string[] | null
  readonly peers: readonly string[] | null
  readonly jobs: number | null
  readonly repeat: number
}

/** @throws when a job of any contestant did not run exactly once */
export async function run(wanted: Wanted, say: (line: string) => void): Promise<Outcome> {
  const all = await contestantsOf(wanted.peers)
  const servers = await startServers(all, say)
  try {
    const contestants = all.filter((contestant) => !servers.missing(contestant))
    const measured: Measured = {}
    for (const scenario of scenarios) {
      if (wanted.only !== null && !wanted.only.includes(scenario.name)) continue
      const began = performance.now()
      measured[scenario.name] = await runOne(scenario, contestants, wanted, servers.serversFor, say)
      say(`${scenario.name}: ${((performance.now() - began) / 1_000).toFixed(0)} s`)
    }
    return { measured, contestants, postgres: servers.postgresVersion, redis: servers.redisVersion }
  } finally {
    await servers.stop()
  }
}

async function runOne(
  scenario: Scenario,
  contestants: readonly Contestant[],
  wanted: Wanted,
  serversFor: (contestant: Contestant) => Promise<Contestant extends never ? never : Parameters<Contestant["open"]>[0]>,
  say: (line: string) => void,
): Promise<Record<string, Metrics>> {
  const taking = contestants.filter((contestant) => scenario.takes(contestant))
  const samples = new Map<string, Metrics[]>(taking.map(({ name }) => [name, []]))
  const rounds = Math.min(wanted.repeat, scenario.rounds ?? Number.POSITIVE_INFINITY)
  for (let round = 0; round < rounds; round++) {
    // There and back, so that nobody always follows the same one.
    for (const contestant of round % 2 === 0 ? taking : [...taking].reverse()) {
      const metrics = await scenario.measure(contestant, { servers: await serversFor(contestant), jobs: wanted.jobs ?? scenario.jobs })
      samples.get(contestant.name)!.push(metrics)
      say(`  ${scenario.name} ${round + 1}/${rounds} ${contestant.name}: ${scenario.metric} ${metrics[scenario.metric]?.toFixed(2)}`)
    }
  }
  return Object.fromEntries([...samples].map(([name, rows]) => [name, medians(rows)]))
}

function medians(rows: readonly Metrics[]): Metrics {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return Object.fromEntries(keys.map((key) => [key, median(rows.flatMap((row) => row[key] ?? []))]))
}
