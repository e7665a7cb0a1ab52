/**
 * In which async context a piece of work runs (`AsyncLocalStorage` of the application). Node hands the context of a caller to all that the call starts:
 * promises, timers, sockets. But one call of this package starts work of others: the first of many enqueues starts the statement that stores all, a
 * wake-up starts the jobs of anybody, and the first to need a connection opens it for all who come later.
 *
 * Rules:
 * - a worker's handlers, middlewares and hooks run in the context of `work()`: what calls into a worker from outside goes through `keepContext`;
 * - listeners of events run in the context of `on()`;
 * - what calls share (statements of a fold, connections, timers, loggers) runs in no caller's context: `outside`;
 * - a promise needs nothing of this: code that awaits it goes on in its own context. But one that is kept holds the context that made it in memory.
 */
import { AsyncResource } from "node:async_hooks"

const noCaller = new AsyncResource("pgtusk")

/** Calls `work` in the context in which this module was loaded. */
export function outside<T>(work: () => T): T {
  return noCaller.runInAsyncScope(work)
}

/** The same function, which always runs in the context of now. */
export function keepContext<Args extends unknown[], R>(work: (...args: Args) => R): (...args: Args) => R {
  const context = new AsyncResource("pgtusk")
  return (...args) => context.runInAsyncScope(work, undefined, ...args)
}
