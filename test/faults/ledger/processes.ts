/** The children: workers and producers, each behind a proxy of its own, started again whenever they end. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { rm } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { compileInto } from "../../support/bundle.js"
import { type FaultProxy, startProxy } from "../../support/proxy.js"
import type { Random } from "../../support/random.js"
import type { StormServer } from "./server.js"

export type Command = { readonly do: "block" | "exhaust"; readonly ms: number } | { readonly do: "stop" | "finish" | "die in a transaction" }

const ROOT = fileURLToPath(new URL("../../..", import.meta.url))
const OUT = `${ROOT}node_modules/.cache/pgtusk-faults-${process.pid}`
const HERE = `${ROOT}test/faults/ledger`

/** Compiled once: they start dozens of times, and a loader takes a second for each. */
export function compile(): Promise<void> {
  return compileInto(OUT, [`${HERE}/worker.ts`, `${HERE}/producer.ts`])
}

export async function removeCompiled(): Promise<void> {
  await rm(OUT, { recursive: true, force: true })
}

export interface ChildOptions {
  readonly kind: "worker" | "producer"
  readonly name: string
  readonly env: NodeJS.ProcessEnv
  readonly server: StormServer
  readonly random: Random
  readonly complain: (what: string) => void
}

/** A place for a process: one runs in it at a time. */
export class Child {
  readonly kind: "worker" | "producer"
  readonly name: string
  readonly proxy: FaultProxy
  readonly #options: ChildOptions
  #process: ChildProcess | undefined
  /** Its end is somebody's wish. */
  #expected = false
  /** A fault kills it, now or at the next occasion. */
  #doomed = false
  #over = false
  #starts = 0
  #output = ""
  /** Resolves when the first process here does its work. */
  readonly ready: Promise<void>
  #markReady: () => void = () => undefined
  /** Wall clock of the next process, wrong by this. */
  clockOffsetMs = 0

  private constructor(options: ChildOptions, proxy: FaultProxy) {
    this.kind = options.kind
    this.name = options.name
    this.#options = options
    this.proxy = proxy
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve
    })
  }

  static async start(options: ChildOptions): Promise<Child> {
    const child = new Child(options, await startProxy(options.server.url))
    child.#spawn()
    return child
  }

  get running(): boolean {
    return this.#process !== undefined
  }
  get pid(): number | undefined {
    return this.#process?.pid
  }
  get output(): string {
    return this.#output
  }

  /** False when nothing runs here just now. */
  send(command: Command): boolean {
    if (this.#process?.connected !== true) return false
    if (command.do === "stop" || command.do === "die in a transaction") this.#expected = true
    if (command.do === "die in a transaction") this.#doomed = true
    this.#process.send(command, () => undefined)
    return true
  }

  signal(name: NodeJS.Signals): boolean {
    if (this.#process === undefined) return false
    if (name === "SIGKILL" || name === "SIGTERM") this.#expected = true
    if (name === "SIGKILL") this.#doomed = true
    return this.#process.kill(name)
  }

  /** Ends it for good; resolves with undefined if it went as told, or had gone, and otherwise with how it ended. */
  async end(how: Command | NodeJS.Signals, limitMs: number): Promise<string | undefined> {
    this.#over = true
    const child = this.#process
    if (child === undefined) return undefined
    const exit = once(child, "exit")
    this.#expected = true
    if (typeof how === "string") child.kill(how)
    else this.send(how)
    let late = false
    const patience = setTimeout(() => {
      late = true
      child.kill("SIGKILL")
    }, limitMs)
    const [code, signal] = await exit
    clearTimeout(patience)
    if (late) return `not after ${limitMs / 1_000} s`
    // The last fault of the storm may come to it only now.
    if (code === 0 || (signal === "SIGKILL" && this.#doomed)) return undefined
    return signal ?? `exit code ${code}`
  }

  async close(): Promise<void> {
    this.#over = true
    this.#process?.kill("SIGKILL")
    await this.proxy.close()
  }

  #spawn(): void {
    const { env, server, kind } = this.#options
    this.proxy.retarget(server.url)
    this.#starts++
    this.#expected = false
    this.#doomed = false
    this.#output += `──── process ${this.#starts}\n`
    const child = fork(`${OUT}/${kind}.js`, {
      execArgv: ["--enable-source-maps"],
      env: {
        ...process.env,
        ...env,
        DATABASE_URL: this.proxy.url,
        CLOCK_OFFSET_MS: String(this.clockOffsetMs),
        SEED: String(this.#options.random.int(0, 2 ** 31)),
      },
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    })
    this.#process = child
    child.on("error", () => undefined)
    child.once("message", () => this.#markReady())
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#output = (this.#output + text).slice(-200_000)
    })
    child.once("exit", (code, signal) => {
      this.#process = undefined
      // Only the conductor, and the task that is poison, kill.
      if (!this.#expected && signal !== "SIGKILL")
        this.#options.complain(`${this.name} ended by itself (${signal ?? `exit code ${code}`}):\n${this.#output.slice(-1_500)}`)
      if (!this.#over) void sleep(50).then(() => !this.#over && this.#spawn())
    })
  }
}
