/** One attempt to start the server: it ends ready, or says why not. */
import { type ChildProcess, spawn } from "node:child_process"
import { createServer } from "node:net"
import type { Logger } from "../api/logger.js"
import { clearTimeout, performance, setTimeout, sleep } from "../lib/timers.js"
import type { Account } from "./account.js"
import { type Binaries, serverEnvironment } from "./binaries.js"
import { clusterOf, runningPostmaster } from "./cluster.js"
import type { Guard } from "./guard.js"
import { ServerLog } from "./log.js"

/** Recovery after a crash is part of a start. */
const START_LIMIT_MS = 60_000
/** A fast shutdown that takes longer becomes an immediate one; the next start then recovers from the write-ahead log. */
const STOP_LIMIT_MS = 30_000

export interface StartOptions {
  readonly home: string
  readonly port: number
  readonly settings: Readonly<Record<string, string>>
  readonly binaries: Binaries
  readonly account: Account
  readonly guard: Guard
  readonly logger: Logger
}

/** `joinable`: another server has the directory, or is just leaving it; `port-taken`: someone else listens there. */
export type StartFailure = { readonly kind: "joinable" | "port-taken" | "other"; readonly log: string }

export class ServerProcess {
  readonly port: number
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  readonly #log: ServerLog
  readonly #logger: Logger
  readonly #guard: Guard
  #running = true
  #stopping: Promise<void> | undefined

  private constructor(child: ChildProcess, log: ServerLog, options: StartOptions) {
    this.port = options.port
    this.#child = child
    this.#log = log
    this.#logger = options.logger
    this.#guard = options.guard
    this.#exited = new Promise((resolve) => {
      const over = (): void => {
        this.#running = false
        resolve()
      }
      child.once("exit", over)
      child.once("error", over)
    })
  }

  /** Resolves once the server is ready, or has ended without getting so far. */
  static async start(options: StartOptions): Promise<ServerProcess | StartFailure> {
    const cluster = clusterOf(options.home)
    const log = new ServerLog(options.home, options.logger)
    const settings = {
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      log_checkpoints: "off",
      ...options.settings,
      "pgtusk.owner": String(process.pid),
    }
    const args = ["-D", cluster, "-p", String(options.port), ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])]
    const child = log.handOver((fd) =>
      spawn(options.binaries.postgres, args, {
        ...options.account,
        cwd: options.home,
        env: serverEnvironment(),
        stdio: ["ignore", fd, fd],
        // Ctrl-C in a terminal must not shut the server down while the application still drains.
        detached: true,
      }),
    )
    const server = new ServerProcess(child, log, options)
    if (child.pid !== undefined) options.guard.watch(child.pid)
    const deadline = performance.now() + START_LIMIT_MS
    while (server.#running && performance.now() < deadline) {
      const found = await runningPostmaster(cluster)
      if (found !== undefined && found.pid === child.pid && found.ready) {
        log.keep(options.home)
        child.unref()
        void server.#exited.then(() => server.#onExit())
        return server
      }
      await Promise.race([sleep(20), server.#exited])
    }
    const timedOut = server.#running
    await server.#end()
    options.guard.watch(0)
    const text = log.lastLines() || (timedOut ? "it did not get ready in time" : `it ended with exit code ${child.exitCode}`)
    log.close({ remove: true })
    const other = await runningPostmaster(cluster)
    const joinable =
      !timedOut && ((other !== undefined && other.pid !== child.pid) || /lock file ".*" already exists|is still in use|is empty/.test(text))
    return { kind: joinable ? "joinable" : /could not bind|could not create any TCP/.test(text) ? "port-taken" : "other", log: text }
  }

  /** Disconnects all clients and shuts down; resolves when the server is gone. */
  stop(options: { removeLog: boolean }): Promise<void> {
    this.#stopping ??= this.#end().then(() => this.#log.close({ remove: options.removeLog }))
    return this.#stopping
  }

  async #end(): Promise<void> {
    // The process must not run out of things to wait for, and so end, before the server has.
    this.#child.ref()
    if (this.#running) this.#child.kill("SIGINT")
    const impatience = setTimeout(() => {
      this.#logger.warn(`embedded Postgres (pid ${this.#child.pid}) takes more than ${STOP_LIMIT_MS / 1000} s to shut down; it is stopped at once`)
      this.#child.kill("SIGQUIT")
    }, STOP_LIMIT_MS)
    await this.#exited
    clearTimeout(impatience)
  }

  #onExit(): void {
    if (this.#stopping !== undefined) return
    this.#guard.release()
    const { exitCode, signalCode } = this.#child
    this.#logger.error(`embedded Postgres ended by itself (${signalCode ?? `exit code ${exitCode}`}). The end of its log:\n${this.#log.lastLines()}`)
    this.#log.close({ remove: false })
  }
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const probe = createServer()
  return await new Promise((resolve, reject) => {
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
}

/** Whether this port could be listened on a moment ago. */
export async function isFree(port: number): Promise<boolean> {
  const probe = createServer()
  return await new Promise((resolve) => {
    probe.once("error", () => resolve(false))
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)))
  })
}
