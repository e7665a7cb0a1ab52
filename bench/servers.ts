/** The servers of a run: one Postgres with its default durability, and the Redis servers that the contestants need. */
import { randomBytes } from "node:crypto"
import pg from "pg"
import { startEmbedded } from "../src/embedded/embedded.js"
import type { Contestant, Servers } from "./peers/peer.js"
import { type RedisServers, startRedis } from "./redis.js"

export interface Started {
  /** As it says itself: "15.20 (Debian 15.20-0+deb12u1)". */
  readonly postgresVersion: string
  readonly redisVersion: string | null
  /** Statements are counted there (pg_stat_statements). */
  readonly statements: boolean
  readonly maxConnections: number
  /** Those that cannot take part, for want of a server. */
  readonly missing: (contestant: Contestant) => boolean
  /** Where this contestant stores: a database of its own. */
  serversFor(contestant: Contestant): Promise<Servers>
  /** Drops what was made. */
  stop(): Promise<void>
}

const silent = { debug() {}, info() {}, warn() {}, error() {} }
/** Of fifty workers of each contestant, which may take ten each. */
export const FLEET_CONNECTIONS = 700

/** `given`: the URL of a Postgres that is there. Nothing of its settings is changed. */
export async function startServers(contestants: readonly Contestant[], say: (line: string) => void, given: string | null = null): Promise<Started> {
  const postgres = given === null ? await startOurs() : { connectionString: given, stop: async () => undefined }
  let redis: RedisServers | undefined
  let admin: pg.Client | undefined
  const made = new Set<string>()
  let statements = false
  /** The URL of a database of this run's. */
  const database = async (name: string): Promise<string> => {
    const url = new URL(postgres.connectionString)
    url.pathname = `/${name}`
    if (!made.has(name)) {
      await admin!.query(`create database ${name}`)
      made.add(name)
      if (statements) await extend(url.href)
    }
    return url.href
  }
  const stop = async (): Promise<void> => {
    for (const name of made) await admin?.query(`drop database if exists ${name} with (force)`).catch((error: unknown) => say(`bench: ${error}`))
    await admin?.end()
    await redis?.stop()
    await postgres.stop()
  }
  try {
    const durabilities = [...new Set(contestants.flatMap((c) => (c.redis === undefined ? [] : [c.redis])))]
    redis = await startRedis(durabilities, say)
    const client = new pg.Client({ connectionString: postgres.connectionString })
    client.on("error", () => undefined)
    await client.connect()
    admin = client
    const { rows } = await client.query(
      "select current_setting('server_version') as version, current_setting('max_connections')::integer as connections, current_setting('jit') as jit",
    )
    const { version, connections, jit } = rows[0]
    statements = await counted(client)
    if (given !== null) say(`bench: PostgreSQL ${version}, jit = ${jit}, max_connections = ${connections}`)
    if (!statements) say("!!!! pg_stat_statements is not loaded on this server (shared_preload_libraries): what it counts is left out !!!!")
    // On somebody else's server no database of theirs may have our name.
    const prefix = given === null ? "bench" : `pgtusk_bench_${randomBytes(4).toString("hex")}`
    return {
      postgresVersion: version,
      redisVersion: redis.version,
      statements,
      maxConnections: connections,
      missing: (contestant) => contestant.redis !== undefined && redis?.ports[contestant.redis] === undefined,
      serversFor: async (contestant) => ({
        postgres: await database(`${prefix}_${contestant.name.replaceAll("-", "_")}`),
        beside: await database(`${prefix}_beside`),
        redis: redis?.ports ?? {},
        statements,
      }),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function startOurs(): ReturnType<typeof startEmbedded> {
  return startEmbedded({
    logger: silent,
    // Nothing that touches durability or speed: the statistics by which claims' reads and idle statements are counted, and connections.
    settings: { shared_preload_libraries: "pg_stat_statements", max_connections: String(FLEET_CONNECTIONS) },
  })
}

/** Loaded, and to be had as an extension. */
async function counted(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query(
    `select current_setting('pg_stat_statements.max', true) is not null
       and exists (select from pg_available_extensions where name = 'pg_stat_statements') as there`,
  )
  return rows[0].there
}

async function extend(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query("create extension pg_stat_statements")
  } finally {
    await client.end()
  }
}
