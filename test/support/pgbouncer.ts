/** A real PgBouncer in transaction mode, where it is installed (`apt-get install pgbouncer`). */
import { spawn, spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import pg from "pg"
import { freePort } from "../../src/embedded/server.js"
import { waitFor } from "./wait.js"

export interface PgBouncer {
  /** The server's URL with PgBouncer's host and port. */
  readonly url: string
  close(): Promise<void>
}

/** Where the program is; undefined when it is not installed. Debian keeps it outside of most users' path. */
export function findPgBouncer(): string | undefined {
  return [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin"].map((folder) => join(folder, "pgbouncer")).find((file) => existsSync(file))
}

/** `sessions`: how many sessions on the server all clients share. */
export async function startPgBouncer(program: string, url: string, sessions = 3): Promise<PgBouncer> {
  const { hostname, port: serverPort, username, password, pathname } = new URL(url)
  const folder = mkdtempSync(join(tmpdir(), "pgtusk-pgbouncer-"))
  const config = join(folder, "pgbouncer.ini")
  const port = await freePort()
  const target = `host=${hostname} port=${serverPort || "5432"} user=${decodeURIComponent(username)} password='${decodeURIComponent(password)}'`
  writeFileSync(
    config,
    [
      "[databases]",
      `* = ${target}`,
      "[pgbouncer]",
      "listen_addr = 127.0.0.1",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = any",
      "pool_mode = transaction",
      `default_pool_size = ${sessions}`,
      "max_client_conn = 200",
      // From 1.21 on it can keep names, and from 1.24 on it does.
      ...(keepsNames(program) ? ["max_prepared_statements = 0"] : []),
    ].join("\n"),
  )
  chmodSync(folder, 0o755)
  chmodSync(config, 0o644)
  // It refuses to run as root, and becomes whom it is told to be.
  const child = spawn(program, [...(process.getuid?.() === 0 ? ["-u", "nobody"] : []), config], { stdio: ["ignore", "ignore", "pipe"] })
  let said = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text
  })
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const near = new URL(url)
  near.hostname = "127.0.0.1"
  near.port = String(port)
  const close = async (): Promise<void> => {
    child.kill("SIGTERM")
    const kill = setTimeout(() => child.kill("SIGKILL"), 2_000)
    await gone
    clearTimeout(kill)
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await waitFor(() => answers(near.href), { what: `PgBouncer to answer for ${pathname}` })
  } catch (error) {
    await close()
    throw new Error(`PgBouncer did not start:\n${said}`, { cause: error })
  }
  return { url: near.href, close }
}

function keepsNames(program: string): boolean {
  const version = /PgBouncer (\d+)\.(\d+)/.exec(spawnSync(program, ["--version"], { encoding: "utf8" }).stdout)
  return version !== null && Number(version[1]) * 1_000 + Number(version[2]) >= 1_021
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url })
  client.on("error", () => {})
  try {
    await client.connect()
    return (await client.query("select 1")).rowCount === 1
  } finally {
    await client.end().catch(() => {})
  }
}
