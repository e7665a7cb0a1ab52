/**
 * The server's log. It is a file and not a pipe: a pipe fills up when its reader stands still (at a breakpoint, after Ctrl-Z), and then every
 * backend that has something to say stands still too.
 */
import { closeSync, openSync, readSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { StringDecoder } from "node:string_decoder"
import type { Logger } from "../api/logger.js"
import { clearInterval, setInterval } from "../lib/timers.js"

const READ_EVERY_MS = 200
const KEPT_LINES = 20

export class ServerLog {
  readonly #logger: Logger
  readonly #reader: number
  readonly #decoder = new StringDecoder("utf8")
  readonly #last: string[] = []
  readonly #timer: NodeJS.Timeout
  #path: string
  #writer: number | undefined
  #partial = ""
  #closed = false

  /** A file of its own for each attempt to start; `keep` makes that of a successful one `server.log`. */
  constructor(home: string, logger: Logger) {
    this.#path = join(home, `server.${process.pid}.${Math.random().toString(36).slice(2, 8)}.log`)
    this.#writer = openSync(this.#path, "a", 0o600)
    this.#reader = openSync(this.#path, "r")
    this.#logger = logger
    this.#timer = setInterval(() => this.#read(), READ_EVERY_MS).unref()
  }

  /** Runs `spawn` with a descriptor for the server's output, which is of no use here afterwards. */
  handOver<T>(spawn: (fd: number) => T): T {
    if (this.#writer === undefined) throw new Error("The log was handed over already")
    try {
      return spawn(this.#writer)
    } finally {
      closeSync(this.#writer)
      this.#writer = undefined
    }
  }

  /** The end of the log, for an error message. */
  lastLines(): string {
    this.#read()
    return this.#last.join("\n")
  }

  keep(home: string): void {
    const path = join(home, "server.log")
    try {
      renameSync(this.#path, path)
      this.#path = path
    } catch {
      // It stays where it is; nothing depends on its name.
    }
  }

  close(options: { remove: boolean }): void {
    if (this.#closed) return
    this.#read()
    this.#closed = true
    clearInterval(this.#timer)
    if (this.#writer !== undefined) closeSync(this.#writer)
    closeSync(this.#reader)
    if (options.remove) rmSync(this.#path, { force: true })
  }

  #read(): void {
    if (this.#closed) return
    const buffer = Buffer.alloc(65_536)
    for (let size = readSync(this.#reader, buffer); size > 0; size = readSync(this.#reader, buffer)) {
      const lines = (this.#partial + this.#decoder.write(buffer.subarray(0, size))).split("\n")
      this.#partial = lines.pop() ?? ""
      for (const line of lines) {
        this.#last.push(line)
        if (this.#last.length > KEPT_LINES) this.#last.shift()
        this.#logger.debug(`postgres: ${line}`)
      }
    }
  }
}
