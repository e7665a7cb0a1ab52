/** What a scenario knows of whatever it measures: pgtusk, the floor, or a peer. */

/** Where jobs are stored. */
export interface Servers {
  /** URL of a database of the contestant's own, on the one Postgres of this run. */
  readonly postgres: string
  /** Of another database there, from which statistics are read without being counted along. */
  readonly beside: string
  /** Its server counts statements (pg_stat_statements). */
  readonly statements: boolean
  /** The port of each Redis server, by its setting of `appendonly`. */
  readonly redis: Readonly<Partial<Record<Durability, number>>>
}
export type Durability = "no" | "always"

/** How the queue is used: as it comes, with finished jobs dropped at once, or with one job at a time. */
export type Use = "plain" | "unkept" | "serial"

/** A peer at one of its settings: a line of the table. */
export interface Contestant {
  /** `graphile-worker` at stock settings, `graphile-worker-tuned` at the best that are known. */
  readonly name: string
  /** What `--peers` selects: pgtusk, floor, graphile-worker, … */
  readonly peer: string
  /** The settings, for the documentation. */
  readonly settings: string
  /** Jobs that it drains in a second, roughly: slow ones get fewer jobs, so that a run takes seconds. The results say how many there were. */
  readonly drains: number
  /** Jobs at once in a worker. */
  readonly concurrency: number
  readonly uses: readonly Use[]
  /** Needs this Redis server. */
  readonly redis?: Durability
  /** How it takes part in a fleet: many workers of one queue. */
  readonly fleet?: FleetSetting
  /** Opens it, and makes what it needs in its database. */
  open(servers: Servers, use: Use): Promise<Store>
}

/** How workers run in a fleet, each alone in its process, with ten jobs at once, and how the server's statistics show what they do. */
export interface FleetSetting {
  /** The settings, for the documentation. */
  readonly settings: string
  /** A condition on `query` of pg_stat_statements: the statement asks for jobs. */
  readonly claims: string
  /** A query for the channels, `channel`, on which it notifies the workers that there are. */
  readonly channels: string
  /** Starts a worker and nothing else. The tables are there. */
  work(servers: Servers, run: (n: number) => unknown): Promise<FleetWorker>
}

export interface FleetWorker {
  /** Claims nothing more until it is resumed; where it has that. */
  pause?(): void
  resume?(): void
  stop(): Promise<void>
}

/** Jobs at once in each worker of a fleet. */
export const FLEET_SLOTS = 10

/** A queue of jobs that carry a number each. */
export interface Store {
  /** Removes every job, finished ones too. */
  clear(): Promise<void>
  /** Resolves when the job is stored; it runs not before `at`. */
  add(n: number, at?: Date): Promise<unknown>
  addMany(numbers: readonly number[]): Promise<unknown>
  /** Starts a worker in this process, which calls `run` for each job. */
  work(run: (n: number) => unknown): Promise<Worker>
  /** Jobs that have not ended. */
  unfinished(): Promise<number>
  /** Finished jobs that it keeps. */
  finished(): Promise<number>
  /** Adds a job in the transaction that is open on this client; quietly: without a notification, where it has that. */
  addInTransaction?(client: TransactionClient, n: number, quietly: boolean): Promise<unknown>
  close(): Promise<void>
}

export interface TransactionClient {
  query(text: string, values?: unknown[]): Promise<{ rows: any[] }>
}

export interface Worker {
  /**
   * Resolves when every outcome so far is recorded. pgtusk and the floor have it, and their clocks stop then; those of the peers stop earlier, when
   * the last handler has run.
   */
  recorded?(): Promise<void>
  stop(): Promise<void>
}
