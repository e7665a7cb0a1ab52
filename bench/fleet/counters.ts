/** What the server counts of a contestant's database, read from a session of another database, so that nothing of it is counted along. */
import pg from "pg"
import { Database } from "../peers/database.js"
import type { FleetSetting, Servers } from "../peers/peer.js"
import { clock } from "../scenarios/scenario.js"

export interface Counts {
  /** By `clock`, in seconds. */
  readonly at: number
  /** Committed and rolled back; receiving a notification is one too. */
  readonly transactions: number
  /** Statements, those inside of functions not counted. */
  readonly statements: number
  readonly claims: number
}

/** How long a session may keep its last counts to itself (PGSTAT_IDLE_INTERVAL). A listening one does until its next statement, if that is sooner. */
export const COUNTED_AFTER_MS = 10_500

export class Counters {
  readonly #database: Database
  readonly #name: string
  readonly #claims: string

  private constructor(database: Database, name: string, claims: string) {
    this.#database = database
    this.#name = name
    this.#claims = claims
  }

  static async open(servers: Servers, fleet: FleetSetting): Promise<Counters> {
    const name = new URL(servers.postgres).pathname.slice(1)
    const database = await Database.open(servers.beside)
    return new Counters(database, name, fleet.claims)
  }

  async now(): Promise<Counts> {
    const [row] = await this.#database.run(
      `select (select xact_commit + xact_rollback from pg_stat_database where datname = $1)::float8 as transactions,
         coalesce(sum(calls), 0)::float8 as statements, coalesce(sum(calls) filter (where ${this.#claims}), 0)::float8 as claims
       from pg_stat_statements where dbid = (select oid from pg_database where datname = $1)`,
      [this.#name],
    )
    return { at: clock() / 1_000, ...row }
  }

  connections(): Promise<number> {
    return this.#database.number("select count(*) from pg_stat_activity where datname = $1 and backend_type = 'client backend'", [this.#name])
  }

  close(): Promise<void> {
    return this.#database.close()
  }
}

/** Counts the notifications on some channels. Its own transactions, one per arrival, are counted beside them, to be taken off. */
export class Ear {
  readonly #client: pg.Client
  notifications = 0
  arrivals = 0

  private constructor(client: pg.Client) {
    this.#client = client
  }

  static async open(servers: Servers, channels: string): Promise<Ear> {
    const client = new pg.Client({ connectionString: servers.postgres, application_name: "pgtusk bench" })
    const ear = new Ear(client)
    let arriving = false
    client.on("error", () => undefined)
    client.on("notification", () => {
      ear.notifications++
      if (arriving) return
      arriving = true
      ear.arrivals++
      setImmediate(() => {
        arriving = false
      })
    })
    await client.connect()
    for (const { channel } of (await client.query(channels)).rows) await client.query(`listen ${client.escapeIdentifier(channel)}`)
    return ear
  }

  async close(): Promise<void> {
    await this.#client.end()
  }
}
