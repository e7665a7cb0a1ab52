/** What pgtusk is to reach, in the same run as what it is compared with. */
import type { Measured } from "./run.js"

export interface Target {
  readonly scenario: string
  readonly text: string
  /** Undefined: not measured in this run. */
  readonly value: number | undefined
  readonly reached: boolean
}

interface Definition {
  readonly scenario: string
  readonly text: string
  readonly bound: "least" | "most"
  readonly limit: number
  readonly value: (rows: Rows) => number | undefined
}
type Rows = Measured[string]

const ours = (rows: Rows, metric: string): number | undefined => rows["pgtusk"]?.[metric]

function divided(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined || !Number.isFinite(b) ? undefined : a / b
}

/** pgtusk's number by that of another contestant; of several, of the one that does best. */
function by(metric: string, better: "higher" | "lower", others: (name: string) => boolean, ourMetric: string = metric) {
  return (rows: Rows): number | undefined => {
    const numbers = Object.entries(rows).flatMap(([name, metrics]) => (name !== "pgtusk" && others(name) ? (metrics[metric] ?? []) : []))
    if (numbers.length === 0) return undefined
    return divided(ours(rows, ourMetric), better === "higher" ? Math.max(...numbers) : Math.min(...numbers))
  }
}
const is =
  (...names: string[]) =>
  (name: string): boolean =>
    names.includes(name)
const of =
  (peer: string) =>
  (name: string): boolean =>
    name.startsWith(peer)
const peer = (name: string): boolean => name !== "floor"
const peerOnPostgres = (name: string): boolean => peer(name) && !name.startsWith("bullmq-redis")

/** The largest, or the least, of those of pgtusk's metrics that have such names. */
function extreme(choose: (...values: number[]) => number, names: RegExp) {
  return (rows: Rows): number | undefined => {
    const values = Object.entries(rows["pgtusk"] ?? {}).flatMap(([name, value]) => (names.test(name) ? [value] : []))
    return values.length === 0 ? undefined : choose(...values)
  }
}

const RATE = "jobsPerSecond"
const DEFINITIONS: readonly Definition[] = [
  { scenario: "drain", text: "≥ 0.8 × floor", bound: "least", limit: 0.8, value: by(RATE, "higher", is("floor")) },
  { scenario: "drain", text: "≥ 1.1 × graphile-worker tuned", bound: "least", limit: 1.1, value: by(RATE, "higher", is("graphile-worker-tuned")) },
  { scenario: "drain", text: "≥ 20 × graphile-worker stock", bound: "least", limit: 20, value: by(RATE, "higher", is("graphile-worker")) },
  { scenario: "drain", text: "≥ 3 × pg-boss tuned", bound: "least", limit: 3, value: by(RATE, "higher", is("pg-boss-tuned")) },
  { scenario: "drain", text: "≥ 20 × BullMQ on Postgres, at its best", bound: "least", limit: 20, value: by(RATE, "higher", of("bullmq-postgres")) },
  { scenario: "drain", text: "≥ 1.5 × BullMQ on Redis, at its best", bound: "least", limit: 1.5, value: by(RATE, "higher", of("bullmq-redis")) },
  { scenario: "drain-unkept", text: "≥ 0.8 × floor", bound: "least", limit: 0.8, value: by(RATE, "higher", is("floor")) },
  {
    scenario: "drain-unkept",
    text: "≥ 1.3 × graphile-worker tuned",
    bound: "least",
    limit: 1.3,
    value: by(RATE, "higher", is("graphile-worker-tuned")),
  },
  { scenario: "drain-two-processes", text: "no slower than one process", bound: "least", limit: 1, value: (rows) => ours(rows, "speedup") },
  { scenario: "drain-two-processes", text: "no lock waits", bound: "most", limit: 0, value: (rows) => ours(rows, "lockWaits") },
  { scenario: "enqueue", text: "≥ 0.9 × floor", bound: "least", limit: 0.9, value: by(RATE, "higher", is("floor")) },
  { scenario: "enqueue-concurrent", text: "≥ 10 × each peer on Postgres", bound: "least", limit: 10, value: by(RATE, "higher", peerOnPostgres) },
  {
    scenario: "enqueue-concurrent",
    text: "≥ 2 × BullMQ on Redis, at its best",
    bound: "least",
    limit: 2,
    value: by(RATE, "higher", of("bullmq-redis")),
  },
  { scenario: "enqueue-transactions", text: "at least the best peer, with wake-ups", bound: "least", limit: 1, value: by(RATE, "higher", peer) },
  {
    scenario: "enqueue-transactions",
    text: "at least the best peer, without",
    bound: "least",
    limit: 1,
    value: by(RATE, "higher", peer, "withoutWake"),
  },
  { scenario: "enqueue-many", text: "≥ 0.9 × floor", bound: "least", limit: 0.9, value: by(RATE, "higher", is("floor")) },
  { scenario: "enqueue-many", text: "≥ 3 × each peer on Postgres", bound: "least", limit: 3, value: by(RATE, "higher", peerOnPostgres) },
  { scenario: "enqueue-many", text: "≥ 3 × BullMQ on Redis, at its best", bound: "least", limit: 3, value: by(RATE, "higher", of("bullmq-redis")) },
  { scenario: "pickup-idle", text: "p50 ≤ 1.3 × floor", bound: "most", limit: 1.3, value: by("p50Ms", "lower", is("floor")) },
  { scenario: "pickup-idle", text: "p99 ≤ 3 × floor", bound: "most", limit: 3, value: by("p99Ms", "lower", is("floor")) },
  { scenario: "pickup-idle", text: "p50 below each peer on Postgres", bound: "most", limit: 1, value: by("p50Ms", "lower", peerOnPostgres) },
  {
    scenario: "pickup-idle",
    text: "p50 below BullMQ on Redis, at its best",
    bound: "most",
    limit: 1,
    value: by("p50Ms", "lower", of("bullmq-redis")),
  },
  { scenario: "pickup-loaded", text: "p95 ≤ 10 ms", bound: "most", limit: 10, value: (rows) => ours(rows, "p95Ms") },
  { scenario: "pickup-loaded", text: "p95 below each peer on Postgres", bound: "most", limit: 1, value: by("p95Ms", "lower", peerOnPostgres) },
  {
    scenario: "pickup-loaded",
    text: "p95 below BullMQ on Redis, at its best",
    bound: "most",
    limit: 1,
    value: by("p95Ms", "lower", of("bullmq-redis")),
  },
  { scenario: "delayed", text: "lateness p95 ≤ 50 ms", bound: "most", limit: 50, value: (rows) => ours(rows, "latenessP95Ms") },
  {
    scenario: "delayed",
    text: "no polling: ≤ 1 statement a second while nothing is due",
    bound: "most",
    limit: 1,
    value: (rows) => ours(rows, "idleStatementsPerSecond"),
  },
  { scenario: "serial-key", text: "≤ 0.75 s", bound: "most", limit: 0.75, value: (rows) => ours(rows, "seconds") },
  { scenario: "pinned", text: "last tenth ≥ 0.9 × first", bound: "least", limit: 0.9, value: (rows) => ours(rows, "lastToFirstTenth") },
  {
    scenario: "pinned",
    text: "buffers of a claimed job in the last tenth ≤ 1.3 × in the first",
    bound: "most",
    limit: 1.3,
    value: (rows) => divided(ours(rows, "claimBuffersLast"), ours(rows, "claimBuffersFirst")),
  },
  { scenario: "depth", text: "each within 1.3 × of the smallest", bound: "most", limit: 1.3, value: (rows) => ours(rows, "worstToSmallest") },
  { scenario: "depth", text: "1,000 keys within 1.3 × of ten", bound: "most", limit: 1.3, value: (rows) => ours(rows, "manyKeysToFew") },
  { scenario: "recovery", text: "≤ 25 s", bound: "most", limit: 25, value: (rows) => ours(rows, "seconds") },
  {
    scenario: "fleet",
    text: "50 workers, one job at a time: ≤ 2 claims a job",
    bound: "most",
    limit: 2,
    value: (rows) => ours(rows, "claimsPerJob@50"),
  },
  {
    scenario: "fleet",
    text: "50 workers, half of the slots busy, and in a burst: ≤ 1.2 claims a job",
    bound: "most",
    limit: 1.2,
    value: extreme(Math.max, /^(flow|burst)ClaimsPerJob@50$/),
  },
  {
    scenario: "fleet",
    text: "idle: ≤ 0.5 transactions a second and worker",
    bound: "most",
    limit: 0.5,
    value: extreme(Math.max, /^idlePerWorker@/),
  },
  {
    scenario: "fleet",
    text: "idle: a worker of 50 as little as one of 5 (≤ 1.2 ×)",
    bound: "most",
    limit: 1.2,
    value: (rows) => divided(ours(rows, "idlePerWorker@50"), ours(rows, "idlePerWorker@5")),
  },
  { scenario: "fleet", text: "idle: ≤ 3 connections a worker", bound: "most", limit: 3, value: extreme(Math.max, /^connectionsPerWorker@/) },
  {
    scenario: "fleet",
    text: "pickup p50 with 50 workers ≤ 1.1 × with one",
    bound: "most",
    limit: 1.1,
    value: (rows) => divided(ours(rows, "p50Ms@50"), ours(rows, "p50Ms@1")),
  },
  {
    scenario: "fleet",
    text: "pickup p99 ≤ 50 ms, also with a worker that is busy, blocked, paused, stopped or dead",
    bound: "most",
    limit: 50,
    value: extreme(Math.max, /^p99Ms@/),
  },
  {
    scenario: "fleet",
    text: "each worker gets jobs while half of the slots are busy, and in a burst",
    bound: "least",
    limit: 1,
    value: extreme(Math.min, /^(flow|burst)Least@/),
  },
]

export function targetsOf(measured: Measured): Target[] {
  return DEFINITIONS.flatMap(({ scenario, text, bound, limit, value }) => {
    const rows = measured[scenario]
    if (rows === undefined) return []
    const number = value(rows)
    return { scenario, text, value: number, reached: number !== undefined && (bound === "least" ? number >= limit : number <= limit) }
  })
}
