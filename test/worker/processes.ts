/** Workers in processes of their own. */
import type { Tusk, TuskOptions, WorkerOptions } from "../../src/index.js"
import { type Script, type ScriptOptions, spawnScript } from "../support/process.js"

export interface WorkerProcess extends Script {
  readonly workerId: string
}

export interface ProcessSettings {
  queue: string
  options?: WorkerOptions
  client?: Omit<TuskOptions, "logger" | "pool">
  /** The application listens to this signal too. */
  listen?: NodeJS.Signals
  /** … with `once`, and before the worker starts. */
  listenFirst?: boolean
  /** It says which events of jobs there are, from all processes. Default: true. */
  events?: boolean
  /** How wrong its wall clock is. */
  clockMs?: number
}

/** Starts one and waits until it claims. */
export async function workerProcess(url: string, settings: ProcessSettings, script: ScriptOptions = {}): Promise<WorkerProcess> {
  const child = spawnScript(new URL("./fixtures/worker.ts", import.meta.url), [JSON.stringify(settings)], { URL: url }, script)
  const ready = await child.line(/^ready /, 25_000)
  return Object.assign(child, { workerId: ready.slice("ready ".length) })
}

/** A job of one of the fixture's tasks. */
export async function enqueue(
  tusk: Tusk,
  queue: string,
  task: "quick" | "hold" | "ignore" | "block" | "block-in-the-middle" | "reject-beside",
  args: unknown[] = [],
) {
  return tusk.enqueue(task, args, { queue })
}
