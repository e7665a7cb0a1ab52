import { clearImmediate, clearTimeout, setImmediate, setTimeout } from "../../lib/timers.js"

/** How long to wait, and for what else. */
interface Bounds<T> {
  /** Milliseconds. The timer does not keep the process alive. */
  ms: number
  /** Ends the wait with its reason. */
  signal?: AbortSignal
  /** Called when the time is over: gives the result, or throws it. */
  late: () => T
}

/**
 * Settles as `work` does, unless the time runs out or the signal aborts before. Leaves no timer and no listener behind, and a later rejection
 * of `work` goes unnoticed.
 *
 * An event loop that was blocked for longer than the time runs this timer before it reads its sockets; so the time is over only after one more
 * turn, in which an answer that has arrived meanwhile still counts.
 */
export function bounded<T>(work: Promise<T>, { ms, signal, late }: Bounds<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let last: NodeJS.Immediate | undefined
    const finish = (settle: () => void): void => {
      clearTimeout(timer)
      clearImmediate(last)
      signal?.removeEventListener("abort", onAbort)
      settle()
    }
    const onAbort = (): void => finish(() => reject(signal?.reason))
    const onLate = (): void => {
      try {
        const value = late()
        finish(() => resolve(value))
      } catch (error) {
        finish(() => reject(error))
      }
    }
    const timer = setTimeout(() => {
      last = setImmediate(onLate)
    }, ms)
    timer.unref()
    work.then(
      (value) => finish(() => resolve(value)),
      (error: unknown) => finish(() => reject(error)),
    )
    if (signal?.aborted) onAbort()
    else signal?.addEventListener("abort", onAbort, { once: true })
  })
}
