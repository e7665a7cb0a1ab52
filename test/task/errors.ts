/** The error that a function throws, to look at more than its class. */
export function thrownBy(run: () => unknown): Error & { path?: string; code?: string; issues?: readonly unknown[] } {
  try {
    run()
  } catch (error) {
    if (error instanceof Error) return error
    throw new Error("threw something that is no Error", { cause: error })
  }
  throw new Error("threw nothing")
}
