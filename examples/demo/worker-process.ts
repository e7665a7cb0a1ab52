/** Starting, killing and ending worker processes. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

const SCRIPT = fileURLToPath(new URL("./worker.ts", import.meta.url))

export class WorkerProcess {
  readonly name: string
  readonly pid: number
  /** The worker's id in tusk.workers. */
  readonly workerId: string
  readonly #child: ChildProcess

  constructor(name: string, child: ChildProcess, workerId: string) {
    this.name = name
    this.pid = child.pid!
    this.workerId = workerId
    this.#child = child
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** SIGKILL: the process gets no chance to say anything to anybody. */
  async kill(): Promise<void> {
    await end(this.#child, "SIGKILL")
  }

  /** SIGTERM: the worker finishes what it runs, then the process ends. Killed if it takes longer than 5 s. */
  async stop(): Promise<void> {
    const patience = setTimeout(() => this.#child.kill("SIGKILL"), 5_000)
    await end(this.#child, "SIGTERM")
    clearTimeout(patience)
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, "exit")
  child.kill(signal)
  await exit
}

/** Resolves when the worker claims jobs; `onOutput` gets the lines of its error output. An aborted signal ends the process. */
export async function startWorker(name: string, url: string, onOutput: (line: string) => void, signal: AbortSignal): Promise<WorkerProcess> {
  const child = fork(SCRIPT, {
    execArgv: ["--import", import.meta.resolve("tsx")],
    env: { ...process.env, DATABASE_URL: url },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  })
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    for (const line of text.trimEnd().split("\n")) onOutput(`${name}: ${line}`)
  })
  const kill = (): void => void child.kill("SIGKILL")
  signal.addEventListener("abort", kill, { once: true })
  try {
    return await new Promise<WorkerProcess>((resolve, reject) => {
      child.once("message", (message: { workerId: string }) => resolve(new WorkerProcess(name, child, message.workerId)))
      child.once("error", reject)
      child.once("exit", (code, by) => reject(new Error(`worker ${name} ended before it worked (${code ?? by})`)))
    })
  } catch (error) {
    kill()
    throw error
  }
}
