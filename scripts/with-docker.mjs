/**
 * Runs a command with a Docker engine: the one that answers, else one of its own that ends with the command.
 *
 *     node scripts/with-docker.mjs npx vitest run
 *
 * Exit code: the command's; 75 when no engine can be had here. Where the engine is not installed, and apt and root are there, it is installed.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs"
import { request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const NO_ENGINE = 75
const START_LIMIT_MS = 60_000
const STOP_LIMIT_MS = 30_000

/** Whether an engine answers on a socket. */
function answers(socketPath) {
  return new Promise((resolve) => {
    const ping = request({ socketPath, path: "/_ping", timeout: 5_000 }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    ping.on("error", () => resolve(false))
    ping.on("timeout", () => ping.destroy())
    ping.end()
  })
}

async function engineIsThere() {
  const host = process.env["DOCKER_HOST"]
  if (host === undefined) return await answers("/var/run/docker.sock")
  if (host.startsWith("unix://")) return await answers(host.slice("unix://".length))
  return spawnSync("docker", ["version"], { stdio: "ignore", timeout: 20_000 }).status === 0
}

class Engine {
  constructor() {
    this.home = mkdtempSync(join(tmpdir(), "pgtusk-docker-"))
    this.socket = join(this.home, "docker.sock")
  }

  /** Resolves when it answers; throws with the end of its log. */
  async start() {
    if (spawnSync("dockerd", ["--version"], { stdio: "ignore" }).status !== 0) install()
    const log = openSync(join(this.home, "log"), "a")
    const place = (name) => join(this.home, name)
    const options = ["--host", `unix://${this.socket}`, "--data-root", place("data"), "--exec-root", place("exec"), "--pidfile", place("pid")]
    this.process = spawn("dockerd", options, { stdio: ["ignore", log, log], detached: true })
    this.ended = new Promise((resolve) => this.process.once("exit", resolve).once("error", resolve))
    let running = true
    void this.ended.then(() => (running = false))
    for (const end = performance.now() + START_LIMIT_MS; running && performance.now() < end; await sleep(100)) if (await answers(this.socket)) return
    throw new Error(`dockerd does not start; the end of its log:\n${readFileSync(join(this.home, "log"), "utf8").split("\n").slice(-15).join("\n")}`)
  }

  /** Stops the containers, the engine, and removes what it stored. */
  async stop() {
    if (this.process?.pid !== undefined && this.process.exitCode === null) {
      this.process.kill("SIGTERM")
      await Promise.race([this.ended, sleep(STOP_LIMIT_MS, undefined, { ref: false })])
      if (this.process.exitCode === null) this.process.kill("SIGKILL")
      await this.ended
    }
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5 })
  }
}

function install() {
  if (process.getuid?.() !== 0) throw new Error("dockerd is not installed, and only root can install it: apt-get install docker.io")
  const apt = (...args) =>
    execFileSync("apt-get", args, {
      stdio: ["ignore", "ignore", "inherit"],
      // Runlevel 1: the package does not start an engine of its own.
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" },
    })
  console.error("with-docker: installing docker.io")
  apt("update", "-qq")
  apt("install", "-y", "-qq", "--no-install-recommends", "docker.io")
}

/** The command's exit code; signals that end us end it first. */
function run(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: "inherit", env })
    const pass = (signal) => child.kill(signal)
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, pass)
    child.once("error", (error) => {
      console.error(`with-docker: ${error.message}`)
      resolve(127)
    })
    child.once("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)))
  })
}

const [command, ...args] = process.argv.slice(2)
if (command === undefined) {
  console.error("with-docker: which command? node scripts/with-docker.mjs npx vitest run")
  process.exit(2)
}
if (await engineIsThere()) {
  process.exitCode = await run(command, args, process.env)
} else {
  const engine = new Engine()
  try {
    await engine.start()
    process.exitCode = await run(command, args, { ...process.env, DOCKER_HOST: `unix://${engine.socket}` })
  } catch (error) {
    console.error(`with-docker: no Docker engine can be had here. ${error.message}`)
    process.exitCode = NO_ENGINE
  } finally {
    await engine.stop()
  }
}
