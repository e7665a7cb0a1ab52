/** The servers of a run: one Postgres with its default durability, and the Redis servers that the contestants need. */
import pg from "pg"
import { startEmbedded } from "../src/postgres/embedded.js"
import type { Contestant, Servers } from "./peers/peer.js"
import { type RedisServers, startRedis } from "./redis.js"

export interface Started {
  readonly postgresVersion: string
  readonly redisVersion: string | null
  /** Those that cannot take part, for want of a server. */
  readonly missing: (contestant: Contestant) => boolean
  /** Where this contestant stores: a database of its own. */
  serversFor(contestant: Contestant): Promise<Servers>
  stop(): Promise<void>
}

const silent = { debug() {}, info() {}, warn() {}, error() {} }

export async function startServers(contestants: readonly Contestant[], say: (line: string) => void): Promise<Started> {
  const postgres = await startEmbedded({
    logger: silent,
    // Nothing that touches durability or speed: the statistics by which claims' reads and idle statements are counted.
    // And connections for fifty workers of each contestant, which may take ten each.
    settings: { shared_preload_libraries: "pg_stat_statements", max_connections: "700" },
  })
  let redis: RedisServers | undefined
  try {
    const durabilities = [...new Set(contestants.flatMap((c) => (c.redis === undefined ? [] : [c.redis])))]
    redis = await startRedis(durabilities, say)
    const admin = new pg.Client({ connectionString: postgres.connectionString })
    await admin.connect()
    const version = (await admin.query("show server_version")).rows[0].server_version as string
    const made = new Set<string>()
    return {
      postgresVersion: version,
      redisVersion: redis.version,
      missing: (contestant) => contestant.redis !== undefined && redis?.ports[contestant.redis] === undefined,
      async serversFor(contestant) {
        const name = `bench_${contestant.name.replaceAll("-", "_")}`
        const url = new URL(postgres.connectionString)
        url.pathname = `/${name}`
        if (!made.has(name)) {
          await admin.query(`create database ${name}`)
          await extend(url.href)
          made.add(name)
        }
        return { postgres: url.href, redis: redis?.ports ?? {} }
      },
      async stop() {
        await admin.end()
        await redis?.stop()
        await postgres.stop()
      },
    }
  } catch (error) {
    await redis?.stop()
    await postgres.stop()
    throw error
  }
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
