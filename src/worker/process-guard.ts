/**
 * What a worker must do for the whole process, while at least one worker runs: end by signals in good order, and keep a promise that a handler
 * left to reject from ending the process.
 */
import { constants } from "node:os"
import type { Logger } from "../logger.js"
import { jobStorage } from "./current-job.js"

type Signal = "SIGTERM" | "SIGINT"
const SIGNALS: readonly Signal[] = ["SIGTERM", "SIGINT"]

interface Guarded {
  readonly drain: () => Promise<void>
}

const workers = new Map<Guarded, Logger>()
const handlers = new Map<Signal, () => void>()
let ending = false

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
    if (workers.size === 0 && !ending) unlisten()
  }
}

function unlisten(): void {
  for (const [signal, handler] of handlers) process.off(signal, handler)
  handlers.clear()
}

async function onSignal(signal: Signal): Promise<void> {
  const handler = handlers.get(signal)
  const ours = process.listeners(signal).every((listener) => listener === handler)
  if (!ending) {
    ending = true
    const drained = [...workers].map(([worker, logger]) => {
      const draining = worker.drain()
      logger.info(`${signal}: the worker claims no more and drains; another signal ends the process at once`)
      return draining
    })
    await Promise.allSettled(drained)
    ending = false
  }
  unlisten()
  if (!ours) return
  process.kill(process.pid, signal)
  // The first process of a container is spared by signals that it does not listen to.
  if (process.pid === 1) process.exit(128 + constants.signals[signal])
}

let rejectionUsers = 0
const reported = new WeakSet<object>()

/** Returns the undoing. */
export function containRejections(logger: Logger): () => void {
  const listener = (reason: unknown, promise: Promise<unknown>): void => {
    const job = jobStorage.getStore()
    if (job !== undefined) {
      // Several workers in one process: one of them tells it.
      if (!reported.has(promise)) {
        reported.add(promise)
        logger.error(
          "a handler left a promise that rejected: await it, or catch its error; the job's outcome is what the handler itself returned or threw",
          {
            job: job.id,
            task: job.task,
            error: reason,
          },
        )
      }
      return
    }
    // Not a handler's. Our listener must not take the place of Node's own reaction.
    if (process.listenerCount("unhandledRejection") === rejectionUsers) throw reason
  }
  rejectionUsers++
  process.on("unhandledRejection", listener)
  return () => {
    rejectionUsers--
    process.off("unhandledRejection", listener)
  }
}
