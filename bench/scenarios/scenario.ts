/** A scenario: what is done with each contestant, and what is measured of it. */
import { Database } from "../peers/database.js"
import type { Contestant, Servers, Store, Use } from "../peers/peer.js"

export type Metrics = Readonly<Record<string, number>>

export interface Scenario {
  /** As `--only` names it, and as the results have it. */
  readonly name: string
  /** For the table: what is measured. */
  readonly title: string
  /** The metric that ratios are made of, and the ones shown beside it. */
  readonly metric: string
  readonly shown: readonly string[]
  readonly better: "higher" | "lower"
  /** Measured in this process, which has to be warm. */
  readonly warm?: boolean
  /** How many jobs, where `--jobs` does not say. */
  readonly jobs: number
  /** More make no sense, whatever `--jobs` says. */
  readonly mostJobs?: number
  /** How many rounds at most, whatever `--repeat` says: of one that takes long. */
  readonly rounds?: number
  /** Where a contestant's metrics are several lines of the table, whose columns are `shown` alone; without it they are one. */
  readonly lines?: (metrics: Metrics) => readonly Line[]
  /** What a server must have, or the scenario is left out there. */
  readonly needs?: { readonly statements?: true; readonly connections?: number; readonly postgres?: number }
  takes(contestant: Contestant): boolean
  measure(contestant: Contestant, context: Context): Promise<Metrics>
}

export interface Line {
  readonly label: string
  readonly metrics: Metrics
}

export interface Context {
  readonly servers: Servers
  /** Wanted; slow contestants get fewer, see `share`. */
  readonly jobs: number
  /** Of this machine: 1 is the one on which the contestants' rates were noted. */
  readonly speed: number
}

/** For what takes long: one setting of each peer. */
export const oneOfEach: Scenario["takes"] = ({ name }) =>
  ["pgtusk", "graphile-worker", "pg-boss-tuned", "bullmq-postgres", "bullmq-redis"].includes(name)

/** As many of the wanted jobs as the contestant does in some seconds on this machine, and at least four. */
export function share(contestant: Contestant, { jobs, speed }: Context, seconds = 3): number {
  return Math.min(jobs, Math.max(4, Math.round(contestant.drains * speed * seconds)))
}

/** Opens the contestant's store with no jobs in it, and closes it. */
export async function withStore<T>(
  contestant: Contestant,
  context: Context,
  use: Use,
  work: (store: Store, database: Database) => Promise<T>,
): Promise<T> {
  const database = await Database.open(context.servers.postgres)
  const store = await contestant.open(context.servers, use)
  try {
    await store.clear()
    return await work(store, database)
  } finally {
    await store.clear()
    await store.close()
    await database.close()
  }
}

/** Stores the jobs 0 to count − 1, and gives the server the same rest before each measurement: tables vacuumed and analyzed, pages written. */
export async function fill(store: Store, database: Database, count: number): Promise<void> {
  await add(store, count)
  await rest(database)
}

/** Stores the jobs 0 to count − 1. */
export async function add(store: Store, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1_000) await store.addMany(Array.from({ length: Math.min(1_000, count - i) }, (_, k) => i + k))
}

export async function rest(database: Database): Promise<void> {
  await database.run("vacuum analyze")
  await database.run("checkpoint")
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Milliseconds of a clock that all processes of this machine share. */
export const clock = (): number => Number(process.hrtime.bigint()) / 1e6
