import type { Backoff, OnParentFailure } from "../api/options.js"
import type { StoredRetention } from "../lib/option-checks.js"

/**
 * A job on its way into the database: options merged and validated, durations in milliseconds, arguments encoded. Fields that are undefined take
 * the defaults that workers publish for the task, and then the stock ones; a local task fills in its own.
 */
export interface Draft {
  readonly task: string
  readonly queue: string | undefined
  readonly priority: number | undefined
  readonly maxAttempts: number | undefined
  /** JSON text of the argument list. */
  readonly args: string
  readonly delayMs: number | undefined
  /** An absolute instant instead of a delay, as ISO text. */
  readonly runAt: string | undefined
  readonly ttlMs: number | undefined
  readonly headers: Readonly<Record<string, string>> | undefined
  readonly stored: StoredOptions | undefined
  readonly customId: string | undefined
  readonly key: DraftKey | undefined
  /** Under which key the job counts, for tasks with a limit: `""` when it has no key function. */
  readonly concurrencyKey: string | undefined
  readonly rateKey: string | undefined
  readonly parents: readonly DraftParent[]
  readonly wake: boolean
  /** False: the published defaults must be looked up. */
  readonly local: boolean
}

/** What is rarely given, kept in the job's `options` column. */
export interface StoredOptions {
  readonly backoff?: Backoff
  readonly timeoutMs?: number
  readonly keep?: StoredRetention
  readonly maxCrashes?: number
  readonly repeatEveryMs?: number
  /** The flow that the job is part of. */
  readonly flow?: { readonly id: string; readonly name: string }
}

export interface DraftKey {
  readonly key: string
  readonly ttlMs: number | undefined
  readonly replace: boolean
  readonly extend: boolean
}

export interface DraftParent {
  readonly id: string
  readonly onFailure: OnParentFailure
  /** Where the parent's result goes in this job's arguments: paths of keys, `[["0"], ["2", "1"]]`. */
  readonly paths?: readonly (readonly string[])[]
}
