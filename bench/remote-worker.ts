/** Starts workers in processes of their own. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import type { Contestant, Servers } from "./peers/peer.js"

export interface Job {
  readonly contestant: string
  readonly peer: string
  readonly servers: Servers
  /** Each handler takes this long. */
  readonly handlerMs: number
  /** A message for the start of each handler, or how many have run every 10 ms. */
  readonly report: "each" | "count"
}
export type ToChild = "start" | "stop"
export type FromChild =
  | { readonly ready: true }
  | { readonly working: true }
  | { readonly started: number; readonly at: number }
  | { readonly count: number }
  | Ended

interface Ended {
  /** The jobs that ran here, in their order. */
  readonly ran: readonly number[]
  /** The last outcome was recorded, or the last handler had run; by `clock`. */
  readonly endedAt: number
}

export class RemoteWorker {
  readonly #process: ChildProcess
  /** Called at the start of each handler, with the job and the time by `clock`. */
  onStarted: (n: number, at: number) => void = () => undefined
  /** Called when `count` has changed. */
  onCount: () => void = () => undefined
  count = 0

  private constructor(child: ChildProcess) {
    this.#process = child
    child.on("message", (message: FromChild) => {
      if ("started" in message) this.onStarted(message.started, message.at)
      if ("count" in message && message.count !== this.count) {
        this.count = message.count
        this.onCount()
      }
    })
  }

  /** Resolves when it has opened its store; it does not work yet. */
  static async prepare(contestant: Contestant, servers: Servers, handlerMs: number, report: Job["report"]): Promise<RemoteWorker> {
    const job: Job = { contestant: contestant.name, peer: contestant.peer, servers, handlerMs, report }
    const child = fork(fileURLToPath(new URL("./child.ts", import.meta.url)), [JSON.stringify(job)], {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", 2, 2, "ipc"],
    })
    const remote = new RemoteWorker(child)
    await remote.#answer((message) => "ready" in message)
    return remote
  }

  get pid(): number {
    return this.#process.pid!
  }

  async start(): Promise<void> {
    const working = this.#answer((message) => "working" in message)
    this.#process.send("start" satisfies ToChild)
    await working
  }

  /** Stops working and ends the process. */
  async stop(): Promise<Ended> {
    const exited = once(this.#process, "exit")
    const ended = this.#answer((message) => "ran" in message)
    this.#process.send("stop" satisfies ToChild)
    const answer = (await ended) as Ended
    await exited
    return answer
  }

  /** Ends it like a power cut does. */
  kill(): void {
    this.#process.kill("SIGKILL")
  }

  #answer(matches: (message: FromChild) => boolean): Promise<FromChild> {
    const child = this.#process
    return new Promise((resolve, reject) => {
      const onMessage = (message: FromChild): void => {
        if (!matches(message)) return
        child.off("message", onMessage)
        child.off("disconnect", onEnd)
        resolve(message)
      }
      const onEnd = (): void => reject(new Error("a worker's process ended before it answered"))
      child.on("message", onMessage)
      // Not its exit: that may be told before its last message is read.
      child.once("disconnect", onEnd)
    })
  }
}
