/** The figures of the load that its checks rely on. */
export const CONCURRENCY = 2
export const RATE: { readonly limit: number; readonly perMs: number } = { limit: 5, perMs: 1_000 }
export const REPEAT_MS = 700
export const SLOT_MS = 1_000
/** Workers that a poisonous job may take with it. */
export const POISON_CRASHES = 2
