/**
 * The timers and clocks of this package, taken when it loads. Test tools replace the globals later (`vi.useFakeTimers()`, Jest,
 * Sinon): what this package waits for still happens, and no timer is set with one kind and cleared with the other.
 *
 * `src` and `migrations` use no other timer or clock; `test/structure.test.ts` checks that. The names are those of the globals.
 */
import { performance as ofProcess } from "node:perf_hooks"
// Not the globals: a tool may have replaced those before this module loads.
import * as node from "node:timers"

/** What `replaceTimers()` takes: all of them, so that the clocks and the timers agree. */
export interface Timers {
  readonly setTimeout: typeof globalThis.setTimeout
  readonly clearTimeout: typeof globalThis.clearTimeout
  readonly setInterval: typeof globalThis.setInterval
  readonly clearInterval: typeof globalThis.clearInterval
  readonly setImmediate: typeof globalThis.setImmediate
  readonly clearImmediate: typeof globalThis.clearImmediate
  /** Milliseconds of a clock that never jumps. */
  readonly now: () => number
  /** Milliseconds since 1970, of a clock that may jump. */
  readonly wallClock: () => number
}

export let setTimeout: Timers["setTimeout"] = node.setTimeout
export let clearTimeout: Timers["clearTimeout"] = node.clearTimeout
export let setInterval: Timers["setInterval"] = node.setInterval
export let clearInterval: Timers["clearInterval"] = node.clearInterval
export let setImmediate: Timers["setImmediate"] = node.setImmediate
export let clearImmediate: Timers["clearImmediate"] = node.clearImmediate
/** Milliseconds since 1970. It may jump: for what people read, never for a decision. */
export let wallClock: Timers["wallClock"] = Date.now
/** The monotonic clock. */
export const performance: { now: Timers["now"] } = { now: ofProcess.now.bind(ofProcess) }

/** Resolves after so many milliseconds, and keeps the process alive until then. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/** Puts other timers in the place of these until the function that it returns is called. For a test that has a clock of its own. */
export function replaceTimers(others: Timers): () => void {
  const before: Timers = { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, now: performance.now, wallClock }
  use(others)
  return () => use(before)
}

function use(timers: Timers): void {
  ;({ setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, wallClock } = timers)
  performance.now = timers.now
}
