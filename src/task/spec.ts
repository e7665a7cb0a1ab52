import type { Backoff, BackoffFunction, DeduplicateOptions, RateStrategy, StandardSchema, TaskOptions } from "../api/options.js"
import type { StoredRetention } from "../lib/option-checks.js"

/** A task as the registry knows it: options validated, durations in milliseconds, defaults filled in. */
export interface TaskSpec {
  readonly name: string
  /** What the user wrote, frozen. */
  readonly options: Readonly<TaskOptions>
  readonly queue: string
  readonly priority: number
  readonly retries: number
  readonly ttlMs: number | undefined
  readonly timeoutMs: number | undefined
  readonly backoff: Backoff | BackoffFunction | undefined
  readonly maxCrashes: number
  readonly keep: StoredRetention | undefined
  readonly progress: boolean
  readonly transactional: boolean
  readonly input: StandardSchema | undefined
  readonly deduplicate: ((...args: any[]) => string | DeduplicateOptions) | undefined
  readonly concurrency: LimitSpec | undefined
  readonly rateLimit: RateSpec | undefined
  /** The function that workers call; absent in a producer's `taskRef`, and until an instance is registered for a method's task. */
  readonly handler: ((...args: any[]) => unknown) | undefined
  /** False for a producer's view (`taskRef`, `tusk.enqueue` by name): what is left out here comes from the table in which workers publish. */
  readonly local: boolean
}

/** A limit a key; null is none: the keys only take turns. */
export interface LimitSpec {
  readonly limit: number | null
  readonly key: ((...args: any[]) => string) | undefined
}
export interface RateSpec extends LimitSpec {
  readonly perMs: number
  readonly strategy: RateStrategy
}
