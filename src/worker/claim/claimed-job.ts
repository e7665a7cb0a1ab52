/** A job from its claim to the end of its run, and the place that it takes meanwhile. */
import type { StoredOptions } from "../../task/draft-types.js"

/** A job as the claim returns it. */
export interface ClaimedRow {
  readonly id: string
  readonly seq: string
  readonly priority: number
  readonly lease: string
  readonly task: string
  readonly attempt: number
  readonly max_attempts: number
  /** JSON: read when the handler is called. */
  readonly args: string
  readonly options: StoredOptions | null
  readonly headers: Readonly<Record<string, string>> | null
  /** Seconds since 1970, as is scheduled_for: a Date is made for those who ask. */
  readonly created_at: number
  readonly scheduled_for: number | null
  /** Somebody listens to events in another process. */
  readonly subscribed: boolean
  /** What was left of its ttl when it was claimed, in milliseconds. */
  readonly ttl: number | null
  /** It was claimed where limits hold: its end makes room for others. Set by the claimer, as are the next. */
  limited: boolean
  /** When this worker got it, in `performance.now()` milliseconds. */
  claimedAt: number
  /** From when on it must not start. */
  staleAt: number
}

/** Of the last row that had any: the jobs of a task usually have the same. */
let lastOptions: { readonly text: string; readonly options: StoredOptions } | undefined

function optionsFrom(text: string): StoredOptions {
  if (lastOptions?.text !== text) lastOptions = { text, options: JSON.parse(text) }
  return lastOptions.options
}

/** A row of sql/claim.sql, whose columns come in this order: an array is read faster than a row by names. */
export function claimedRow(v: readonly any[]): ClaimedRow {
  return {
    id: v[0],
    seq: v[1],
    priority: v[2],
    lease: v[3],
    task: v[4],
    attempt: v[5],
    max_attempts: v[6],
    args: v[7],
    options: v[8] === null ? null : optionsFrom(v[8]),
    headers: v[9] === null ? null : JSON.parse(v[9]),
    created_at: v[10],
    scheduled_for: v[11],
    subscribed: v[12],
    ttl: v[13],
    limited: false,
    claimedAt: 0,
    staleAt: Number.POSITIVE_INFINITY,
  }
}

/** Where a run has its place. */
export interface Slot {
  readonly queue: string
  /** The job's handler has returned, after so many milliseconds. */
  returned(row: ClaimedRow, ranMs: number): void
}
