/** A server of Debian's packages with settings of a test's own: it stands for the managed servers that people rent. */
import { execFile, spawn } from "node:child_process"
import { chmodSync, chownSync, existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import pg from "pg"
import { serverAccount } from "../../src/embedded/account.js"
import { freePort } from "../../src/embedded/server.js"
import { waitFor } from "./wait.js"

const run = promisify(execFile)
const BIN = "/usr/lib/postgresql/15/bin"
const PASSWORD = "secret"

/** Why there is no such server here; undefined where there is. */
export const noDebianServer: string | undefined = existsSync(join(BIN, "initdb"))
  ? undefined
  : "skipped: Debian's PostgreSQL 15 is not installed; apt-get install postgresql"

export interface DebianServer {
  /** The file of the authority's certificate. */
  readonly authority: string
  /** A URL of a database, by the superuser unless a role is given. */
  url(database: string, role?: string): string
  /** Statements of the superuser, one after the other. */
  admin(database: string, ...statements: string[]): Promise<any[]>
  /** The server's log so far. */
  log(): string
  stop(): Promise<void>
}

/** A server with TLS: its certificate, for 127.0.0.1, is signed by an authority of its own. `hba`: lines of pg_hba.conf for connections over TCP. */
export async function startDebianServer(settings: Readonly<Record<string, string>>, hba: readonly string[]): Promise<DebianServer> {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), "pgtusk-debian-"))
  // The server's own user must get through.
  chmodSync(folder, 0o711)
  const data = join(folder, "data")
  const account = await serverAccount(data)
  const own = (file: string): void => {
    if (account.uid !== undefined) chownSync(file, account.uid, account.gid)
  }
  own(folder)
  const words = join(folder, "password")
  writeFileSync(words, PASSWORD)
  const options = ["-U", "super", "--pwfile", words, "-A", "scram-sha-256", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync"]
  await run(join(BIN, "initdb"), ["-D", data, ...options], { ...account, cwd: folder })
  const authority = await certify(folder)
  for (const file of ["server.key", "server.crt"]) own(join(folder, file))
  const port = await freePort()
  const all: Record<string, string> = {
    port: String(port),
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    fsync: "off",
    ssl: "on",
    ssl_cert_file: join(folder, "server.crt"),
    ssl_key_file: join(folder, "server.key"),
    ...settings,
  }
  writeFileSync(join(data, "pg_hba.conf"), [...hba, "host all super 127.0.0.1/32 scram-sha-256", ""].join("\n"))
  const values = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`])
  const child = spawn(join(BIN, "postgres"), ["-D", data, ...values], { ...account, cwd: folder, stdio: ["ignore", "ignore", "pipe"] })
  let said = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text
  })
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const url = (database: string, role = "super"): string => `postgres://${role}:${PASSWORD}@127.0.0.1:${port}/${database}`
  const stop = async (): Promise<void> => {
    child.kill("SIGQUIT")
    await gone
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  const admin = async (database: string, ...statements: string[]): Promise<any[]> => {
    const client = new pg.Client({ connectionString: url(database), ssl: { rejectUnauthorized: false } })
    client.on("error", () => undefined)
    await client.connect()
    try {
      let rows: any[] = []
      for (const statement of statements) rows = (await client.query(statement)).rows
      return rows
    } finally {
      await client.end()
    }
  }
  try {
    await waitFor(
      () => {
        if (child.exitCode !== null) return true
        return admin("postgres", "select 1").then(() => true)
      },
      { timeout: 30_000, what: "Debian's server to start" },
    )
    if (child.exitCode !== null) throw new Error("Debian's server does not start")
  } catch (error) {
    await stop()
    throw new Error(`${(error as Error).message}:\n${said.slice(-2_000)}`, { cause: error })
  }
  return { authority, url, admin, log: () => said, stop }
}

/** An authority, and a certificate of it for the server, in `folder`; returns the authority's file. */
async function certify(folder: string): Promise<string> {
  const openssl = (...args: string[]): Promise<unknown> => run("openssl", args, { cwd: folder })
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
  await openssl("req", "-x509", ...key, "-days", "2", "-subj", "/CN=an authority of a test", "-keyout", "ca.key", "-out", "ca.crt")
  const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
  await openssl("req", "-new", ...key, "-subj", "/CN=localhost", ...names, "-keyout", "server.key", "-out", "server.csr")
  const signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copyall"]
  await openssl("x509", "-req", "-in", "server.csr", ...signed, "-out", "server.crt")
  chmodSync(join(folder, "server.key"), 0o600)
  return join(folder, "ca.crt")
}

/** A locale in which this server can speak: the system's, with Postgres's own texts. */
export async function languageOf(locale: string): Promise<string | undefined> {
  const { stdout } = await run("locale", ["-a"]).catch(() => ({ stdout: "" }))
  const texts = `/usr/share/locale/${locale.split("_")[0]}/LC_MESSAGES/postgres-15.mo`
  return existsSync(texts) && stdout.split("\n").includes(`${locale}.utf8`) ? `${locale}.utf8` : undefined
}
