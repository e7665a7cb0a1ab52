/** The storm's Postgres: one that can be taken away and brought back. */
import { chmod, mkdtemp, readFile, realpath, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pg from "pg"
import { type EmbeddedServer, startEmbedded } from "../../../src/embedded/embedded.js"
import { waitFor } from "../../support/wait.js"

export const MAX_CONNECTIONS = 120

/** That the server ends is no news here. */
const silent = { debug() {}, info() {}, warn() {}, error() {} }

const SETTINGS = {
  max_connections: String(MAX_CONNECTIONS),
  // Nothing here has to survive a crash of the machine.
  fsync: "off",
  // So small that a test can fill it. Postgres 17 and later.
  max_notify_queue_pages: "64",
  deadlock_timeout: "100ms",
}

export class StormServer {
  readonly #home: string
  #server: EmbeddedServer
  #pool: pg.Pool

  private constructor(home: string, server: EmbeddedServer) {
    this.#home = home
    this.#server = server
    this.#pool = adminPool(this.url)
  }

  static async start(): Promise<StormServer> {
    const folder = await mkdtemp(join(await realpath(tmpdir()), "pgtusk-storm-"))
    // As root the server runs as somebody else, who must get through.
    await chmod(folder, 0o711)
    const home = join(folder, "data")
    return new StormServer(home, await startEmbedded({ dataDir: home, logger: silent, settings: SETTINGS }))
  }

  get url(): string {
    return this.#server.connectionString
  }

  /** A statement of the conductor's, untouched by the faults that settings make. */
  async query<Row extends object = any>(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return (await this.#pool.query(text, values as unknown[])).rows
  }

  /** A connection of its own, as the conductor's. */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client(adminConfig(this.url))
    client.on("error", () => undefined)
    await client.connect()
    return client
  }

  /** As if the plug had been pulled. `stopped`: processes of the server that were stopped, and would keep it waiting. */
  async crash(stopped: readonly number[] = []): Promise<void> {
    const pid = await this.#postmaster()
    process.kill(pid, "SIGQUIT")
    for (const one of stopped) process.kill(one, "SIGKILL")
    await waitFor(() => !isAlive(pid), { timeout: 20_000, what: "Postgres to be gone" })
  }

  /** After `crash()`; on another port if told so. */
  async start(elsewhere = false): Promise<void> {
    const port = elsewhere ? undefined : this.#server.port
    this.#server = await startEmbedded({
      dataDir: this.#home,
      logger: silent,
      settings: SETTINGS,
      port: port ?? (await portBeside(this.#server.port)),
    })
    const old = this.#pool
    this.#pool = adminPool(this.url)
    await old.end().catch(() => undefined)
  }

  async stop(): Promise<void> {
    await this.#pool.end().catch(() => undefined)
    await this.#server.stop()
    await rm(join(this.#home, ".."), { recursive: true, force: true })
  }

  async #postmaster(): Promise<number> {
    return Number((await readFile(join(this.#home, "cluster", "postmaster.pid"), "utf8")).split("\n")[0])
  }
}

function adminConfig(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    application_name: "conductor",
    connectionTimeoutMillis: 5_000,
    options: "-c statement_timeout=0 -c lock_timeout=0 -c default_transaction_isolation=read\\ committed",
  }
}

function adminPool(url: string): pg.Pool {
  const pool = new pg.Pool({ ...adminConfig(url), max: 4 })
  pool.on("connect", (client) => client.on("error", () => undefined))
  pool.on("error", () => undefined)
  return pool
}

async function portBeside(taken: number): Promise<number> {
  const { freePort } = await import("../../../src/embedded/server.js")
  for (;;) {
    const port = await freePort()
    if (port !== taken) return port
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
