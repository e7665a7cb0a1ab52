/**
 * What a worker must do for the whole process, while at least one worker runs: end by signals in good order, and keep a promise that a handler
 * left to reject from ending the process.
 */
import { constants } from "node:os"
import type { Logger } from "../api/logger.js"
import { jobStorage } from "./run/current-job.js"

type Signal = "SIGTERM" | "SIGINT"
const SIGNALS: readonly Signal[] = ["SIGTERM", "SIGINT"]

interface Guarded {
  readonly drain: () => Promise<void>
}

/**
 * One of each for the process, however many workers there are, and however often a bundler has this module: each copy would take the other's
 * listeners for the application's.
 */
interface ProcessGuard {
  readonly workers: Map<Guarded, Logger>
  readonly handlers: Map<Signal, () => void>
  ending: boolean
  /** Who tells of rejections that handlers left: one of them does. */
  readonly reporters: Set<{ readonly logger: Logger }>
  onRejection?: NodeJS.UnhandledRejectionListener
}
const GUARD: unique symbol = Symbol.for("pgtusk.process")
const guard: ProcessGuard = ((globalThis as { [GUARD]?: ProcessGuard })[GUARD] ??= {
  workers: new Map(),
  handlers: new Map(),
  ending: false,
  reporters: new Set(),
})
const { workers, handlers, reporters } = guard

/**
 * Drains the worker when the process is told to end. When all are drained the process ends by the same signal, unless the application listens to
 * it as well; then ending is the application's affair. A second signal ends it at once. Returns the undoing.
 */
export function drainOnSignals(worker: Guarded, logger: Logger): () => void {
  workers.set(worker, logger)
  if (handlers.size === 0) {
    for (const signal of SIGNALS) {
      const handler = (): void => void onSignal(signal)
      handlers.set(signal, handler)
      // First, so that a `once` listener of the application's is still there when we look whether there is any.
      process.prependListener(signal, handler)
    }
  }
  return () => {
    workers.delete(worker)
    if (workers.size === 0 && !guard.ending) unlisten()
  }
}

function unlisten(): void {
  for (const [signal, handler] of handlers) process.off(signal, handler)
  handlers.clear()
}

async function onSignal(signal: Signal): Promise<void> {
  const handler = handlers.get(signal)
  const ours = process.listeners(signal).every((listener) => listener === handler)
  if (!guard.ending) {
    guard.ending = true
    const drained = [...workers].map(([worker, logger]) => {
      const draining = worker.drain()
      logger.info(`${signal}: the worker claims no more and drains; another signal ends the process at once`)
      return draining
    })
    await Promise.allSettled(drained)
    guard.ending = false
  }
  unlisten()
  if (!ours) return
  process.kill(process.pid, signal)
  // The first process of a container is spared by signals that it does not listen to.
  if (process.pid === 1) process.exit(128 + constants.signals[signal])
}

/** Returns the undoing. */
export function containRejections(logger: Logger): () => void {
  const reporter = { logger }
  reporters.add(reporter)
  if (guard.onRejection === undefined) {
    guard.onRejection = onRejection
    process.on("unhandledRejection", onRejection)
  }
  return () => {
    reporters.delete(reporter)
    if (reporters.size > 0 || guard.onRejection === undefined) return
    process.off("unhandledRejection", guard.onRejection)
    delete guard.onRejection
  }
}

function onRejection(reason: unknown): void {
  const job = jobStorage.getStore()
  if (job !== undefined) {
    const [reporter] = reporters
    reporter?.logger.error(
      "a handler left a promise that rejected: await it, or catch its error; the job's outcome is what the handler itself returned or threw",
      { job: job.id, task: job.task, error: reason },
    )
    return
  }
  // Not a handler's. Our listener must not take the place of Node's own reaction.
  if (process.listenerCount("unhandledRejection") === 1) throw reason
}
