/**
 * Runs a command beside a Postgres of Debian's packages, with its stock settings (LLVM is there, so `jit` is on), in a cluster of its own that ends with the
 * command. TEST_DATABASE_URL holds its address, with a superuser's rights.
 *
 *     node scripts/with-debian-postgres.mjs npx vitest run test/worker
 *     node scripts/with-debian-postgres.mjs sh -c 'npm run bench -- --server "$TEST_DATABASE_URL" --only drain'
 *
 * Exit code: the command's; 75 when no such server can be had here. Where it is not installed, and apt and root are there, it is installed; no cluster of
 * the package's own is started.
 */
import { execFileSync, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const NO_SERVER = 75
const PACKAGES = "/usr/lib/postgresql"
const root = process.getuid?.() === 0

/** The newest that is installed. */
function installed() {
  const versions = existsSync(PACKAGES) ? readdirSync(PACKAGES).filter((name) => existsSync(join(PACKAGES, name, "bin", "initdb"))) : []
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0]
  return newest === undefined ? undefined : join(PACKAGES, newest)
}

function install() {
  if (!root) throw new Error("it is not installed, and only root can install it: apt-get install postgresql")
  const apt = (...args) =>
    execFileSync("apt-get", args, {
      stdio: ["ignore", "ignore", "inherit"],
      // Runlevel 1: the package does not start a cluster of its own, which would listen on 5432.
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" },
    })
  console.error("with-debian-postgres: installing postgresql")
  apt("update", "-qq")
  apt("install", "-y", "-qq", "--no-install-recommends", "postgresql")
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

class Cluster {
  /** Of the package. */
  constructor(home) {
    this.bin = join(home, "bin")
    this.jit = existsSync(join(home, "lib", "llvmjit.so"))
    this.folder = mkdtempSync(join(tmpdir(), "pgtusk-debian-"))
    this.data = join(this.folder, "data")
    this.log = join(this.folder, "log")
  }

  /** Postgres refuses to run as root. */
  #run(program, ...args) {
    const command = join(this.bin, program)
    const [file, rest] = root ? ["runuser", ["-u", "postgres", "--", command, ...args]] : [command, args]
    // Its own folder: another user may not be allowed into ours.
    return execFileSync(file, rest, { cwd: this.folder, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] })
  }

  /** @returns its URL */
  async start() {
    const password = randomBytes(16).toString("hex")
    const secret = join(this.folder, "password")
    writeFileSync(secret, password, { mode: 0o600 })
    if (root) execFileSync("chown", ["-R", "postgres:", this.folder])
    chmodSync(this.folder, 0o700)
    // As Debian's pg_createcluster does.
    const auth = ["--auth-local=peer", "--auth-host=scram-sha-256", `--pwfile=${secret}`]
    this.#run("initdb", "-D", this.data, "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", ...auth)
    const port = await freePort()
    // Where it is to be found, and nothing else.
    const place = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='${this.folder}'`
    try {
      this.#run("pg_ctl", "-D", this.data, "-l", this.log, "-o", place, "-w", "-t", "60", "start")
    } catch (error) {
      throw new Error(
        `it does not start; the end of its log:\n${existsSync(this.log) ? readFileSync(this.log, "utf8").split("\n").slice(-15).join("\n") : error}`,
      )
    }
    this.started = true
    return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  }

  stop() {
    try {
      if (this.started) this.#run("pg_ctl", "-D", this.data, "-m", "fast", "-w", "-t", "60", "stop")
    } catch {
      this.#run("pg_ctl", "-D", this.data, "-m", "immediate", "-w", "-t", "30", "stop")
    } finally {
      rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
    }
  }
}

/** Before there is a command, they are remembered. */
let early = 0
let pass = () => {
  early = 143
}
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => pass(signal))

/** The command's exit code; signals that end us end it first. */
function run(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: "inherit", env })
    pass = (signal) => child.kill(signal)
    child.once("error", (error) => {
      console.error(`with-debian-postgres: ${error.message}`)
      resolve(127)
    })
    child.once("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)))
  })
}

const [command, ...args] = process.argv.slice(2)
if (command === undefined) {
  console.error("with-debian-postgres: which command? node scripts/with-debian-postgres.mjs npx vitest run")
  process.exit(2)
}
let cluster
let url
try {
  if (installed() === undefined) install()
  const home = installed()
  if (home === undefined) throw new Error(`there is none in ${PACKAGES}`)
  cluster = new Cluster(home)
  url = await cluster.start()
  if (!cluster.jit) console.error(`!!!! ${home} has no LLVM: nothing is compiled there, and nothing is said of JIT !!!!`)
} catch (error) {
  console.error(`with-debian-postgres: no Postgres of Debian's packages can be had here. ${error.message}`)
  process.exitCode = NO_SERVER
}
try {
  if (early !== 0) process.exitCode = early
  else if (url !== undefined) process.exitCode = await run(command, args, { ...process.env, TEST_DATABASE_URL: url })
} finally {
  cluster?.stop()
}
