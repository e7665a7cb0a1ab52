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

/** The longest delay of a Node timer; a longer one would fire at once, with a warning. */
const MAX_TIMER_MS = 2_147_483_647

let start: Timers["setTimeout"] = node.setTimeout
/** A delay that is longer than a timer can be (24.8 days) ends after that time. */
export function setTimeout(run: (...args: any[]) => void, ms: number, ...args: unknown[]): NodeJS.Timeout {
  return start(run, Math.min(ms, MAX_TIMER_MS), ...args)
}
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
export async function sleep(ms: number): Promise<void> {
  let left = ms
  do await new Promise<void>((resolve) => void setTimeout(resolve, left))
  while ((left -= MAX_TIMER_MS) > 0)
}

/** Keeps the process alive until the function that it returns is called. */
export function holdProcess(): () => void {
  const hold = setInterval(() => undefined, MAX_TIMER_MS)
  return () => clearInterval(hold)
}

/**
 * A time limit that several waits share. The function that it returns resolves true once the work has settled, or false once the time is over.
 * The process stays alive while it waits.
 */
export function timeLimit(ms: number): (work: Promise<unknown>) => Promise<boolean> {
  const due = performance.now() + ms
  return async (work) => {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, Math.max(due - performance.now(), 0), false)
    })
    const settled = work.then(
      () => true,
      () => true,
    )
    return await Promise.race([settled, late]).finally(() => clearTimeout(timer))
  }
}

/** Puts other timers in the place of these until the function that it returns is called. For a test that has a clock of its own. */
export function replaceTimers(others: Timers): () => void {
  const before: Timers = {
    setTimeout: start,
    clearTimeout,
    setInterval,
    clearInterval,
    setImmediate,
    clearImmediate,
    now: performance.now,
    wallClock,
  }
  use(others)
  return () => use(before)
}

function use(timers: Timers): void {
  ;({ setTimeout: start, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, wallClock } = timers)
  performance.now = timers.now
}
