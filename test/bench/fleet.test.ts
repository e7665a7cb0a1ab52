/** The fleets of the benchmark, in small, and with what is known of a single worker beside. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { contestants } from "../../bench/peers/pgtusk.js"
import { fleet, measureFleet } from "../../bench/scenarios/fleet.js"
import type { Line } from "../../bench/scenarios/scenario.js"
import { type Started, startServers } from "../../bench/servers.js"

process.env["PGTUSK_BENCH_LIBRARY"] ??= new URL("../../src/index.ts", import.meta.url).href

const [pgtusk] = contestants
let servers: Started
beforeAll(async () => {
  servers = await startServers(contestants, () => undefined)
})
afterAll(() => servers.stop())

test("a fleet of the benchmark is measured as it grows, also with a worker out of action", { timeout: 120_000 }, async () => {
  const metrics = await measureFleet(pgtusk!, await servers.serversFor(pgtusk!), {
    sizes: [1, 2],
    wholeSizes: [1],
    faultSizes: [2],
    settleMs: 500,
    idleMs: 6_000,
    countedAfterMs: 1_500,
    jobs: 9,
    flowMs: 500,
    burst: 200,
  })
  const lines = fleet.lines!(metrics)
  expect(lines.map(({ label }) => label)).toEqual([
    "1 worker",
    "2 workers",
    ...["busy", "blocked", "paused", "stopped", "killed"].map((fault) => `2 workers, one ${fault}`),
  ])
  const [one, two, ...faults] = lines.map((line: Line) => line.metrics)
  // Nobody else is there who could claim, or run jobs.
  expect(one!["claimsPerJob"]).toBeGreaterThanOrEqual(1)
  expect(one!["claimsPerJob"]).toBeLessThan(1.5)
  expect(one!["notificationsPerJob"]).toBeGreaterThanOrEqual(1)
  expect(one!["burstLeast"]).toBe(200)
  expect(one!["burstMost"]).toBe(200)
  expect(one!["burstClaimsPerJob"]).toBeGreaterThan(0)
  expect(one!["connectionsPerWorker"]).toBeGreaterThanOrEqual(2)
  expect(one!["idlePerWorker"]).toBeGreaterThan(0)
  expect(one!["flowLeast"]).toBe(one!["flowMost"])
  for (const metrics of [one!, two!, ...faults]) {
    expect(metrics["p50Ms"]).toBeGreaterThan(0)
    expect(metrics["p50Ms"]).toBeLessThanOrEqual(metrics["p99Ms"]!)
    expect(metrics["p99Ms"]).toBeLessThanOrEqual(metrics["maxMs"]!)
  }
})
