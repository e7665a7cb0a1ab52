/** Waiting in tests: on a condition or on a signal, never on a fixed time. */

export interface WaitForOptions {
  /** Milliseconds until it gives up. Default 10,000. */
  timeout?: number
  /** What is waited for, as the error says it: `"the job to be active"`. */
  what?: string
}

/**
 * Asks every 5 ms until the condition gives something truthy, and returns that. A condition that throws counts as not met yet; its last
 * value and its last error are in the error of a time-out.
 *
 *     const row = await waitFor(() => find(id), { what: "the row to appear" })
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  { timeout = 10_000, what = condition.toString() }: WaitForOptions = {},
): Promise<NonNullable<Exclude<T, false | 0 | "" | void>>> {
  const deadline = performance.now() + timeout
  let last: unknown
  let failure: unknown
  do {
    try {
      last = await within(condition(), deadline - performance.now())
      failure = undefined
      if (last) return last as NonNullable<Exclude<T, false | 0 | "" | void>>
    } catch (error) {
      failure = error
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  } while (performance.now() < deadline)
  const seen = [
    ...(last === undefined && failure !== undefined ? [] : [`last value: ${show(last)}`]),
    ...(failure === undefined ? [] : [`last error: ${failure instanceof Error ? failure.message : show(failure)}`]),
  ].join("; ")
  throw new Error(`Waited ${timeout} ms for ${what} (${seen})`, failure === undefined ? undefined : { cause: failure })
}

/** A promise with its two ends in hand. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T | PromiseLike<T>): void
  reject(reason: unknown): void
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: Deferred<T>["resolve"]
  let reject!: Deferred<T>["reject"]
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  // Rejecting before anyone listens must not end the process; whoever awaits the promise still sees it.
  promise.catch(() => {})
  return { promise, resolve, reject }
}

/** The promise's outcome, or an error once `ms` are over. */
export async function within<T>(promise: T | PromiseLike<T>, ms: number, what = "the condition to answer"): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${Math.round(ms)} ms for ${what}`)), Math.max(ms, 0))
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

function show(value: unknown): string {
  const text = typeof value === "object" && value !== null ? JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}n` : v)) : String(value)
  return text.length > 500 ? `${text.slice(0, 500)}…` : text
}
