/** What a filter of jobs may say, checked. */
import { InvalidOptionError } from "../errors.js"
import { encode } from "../task/codec.js"
import { badOption, describeValue } from "../task/invalid-option.js"
import { checkKeys } from "../task/option-checks.js"
import { textFault } from "../task/text.js"
import type { JobFilter, JobState } from "./types.js"
import { isUuid } from "./uuid.js"

export const LIVE_STATES: readonly JobState[] = ["waiting", "delayed", "blocked", "active"]
export const END_STATES: readonly JobState[] = ["completed", "failed", "expired", "cancelled"]

const KNOWN = ["state", "queue", "task", "text", "args", "since", "until", "order", "limit", "after"]
const DEFAULT_LIMIT = 50
const MAX_LIMIT = 1_000

/** A filter that has been checked. */
export interface CheckedFilter {
  readonly states: readonly JobState[]
  readonly queue: string | undefined
  readonly task: string | undefined
  readonly text: string | undefined
  readonly args: string | undefined
  readonly since: Date | undefined
  readonly until: Date | undefined
  readonly oldestFirst: boolean
  readonly limit: number
  readonly after: string | undefined
}

/** @throws InvalidOptionError */
export function checkFilter(filter: JobFilter): CheckedFilter {
  checkKeys(filter as unknown, KNOWN, "The filter of jobs")
  const states = filter.state === undefined ? [...LIVE_STATES, ...END_STATES] : typeof filter.state === "string" ? [filter.state] : filter.state
  for (const state of states) {
    if (!LIVE_STATES.includes(state) && !END_STATES.includes(state)) {
      throw new InvalidOptionError(`state is ${JSON.stringify(state)}; write one of ${[...LIVE_STATES, ...END_STATES].join(", ")}`)
    }
  }
  if (filter.order !== undefined && filter.order !== "newest" && filter.order !== "oldest") {
    throw new InvalidOptionError(`order is ${JSON.stringify(filter.order)}; write "newest" or "oldest"`)
  }
  const limit = filter.limit ?? DEFAULT_LIMIT
  if (!(Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_LIMIT))
    throw new InvalidOptionError(`limit is ${String(limit)}; write 1 to ${MAX_LIMIT}`)
  if (filter.after !== undefined && !isUuid(filter.after))
    throw new InvalidOptionError(`after is ${JSON.stringify(filter.after)}; write the \`next\` of the page before`)
  for (const field of ["queue", "task", "text"] as const) {
    const fault = typeof filter[field] === "string" ? textFault(filter[field]) : filter[field] === undefined ? undefined : "is no text"
    if (fault !== undefined) throw badOption(`${field} of the filter of jobs (${describeValue(filter[field])}) ${fault}; write a text`)
  }
  for (const field of ["since", "until"] as const) {
    const bound: unknown = filter[field]
    if (bound !== undefined && !(bound instanceof Date && !Number.isNaN(bound.getTime())))
      throw badOption(`${field} of the filter of jobs is ${describeValue(bound)}; write a Date`)
  }
  return {
    states,
    queue: filter.queue,
    task: filter.task,
    text: filter.text,
    args: filter.args === undefined ? undefined : encode(filter.args, "The args of the filter"),
    since: filter.since,
    until: filter.until,
    oldestFirst: filter.order === "oldest",
    limit,
    after: filter.after,
  }
}
