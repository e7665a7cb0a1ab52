/** Onions: functions that each wrap the next, as in Koa. The first given is the outermost. */
import { TuskError } from "../api/errors.js"

/** Runs `core` inside of the middlewares. Each may call `next` once. */
export function compose<C>(
  middlewares: readonly ((context: C, next: () => Promise<unknown>) => Promise<unknown>)[],
  context: C,
  core: () => Promise<unknown>,
): Promise<unknown> {
  // Async, so that a middleware that is no async function may throw, or return nothing.
  const run = async (at: number): Promise<unknown> => {
    const middleware = middlewares[at]
    if (middleware === undefined) return core()
    let called = false
    return middleware(context, () => {
      if (called) return Promise.reject(new TuskError("NEXT_TWICE", "A middleware called next() twice; call it once"))
      called = true
      return run(at + 1)
    })
  }
  return run(0)
}
