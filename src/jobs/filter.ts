/** What a filter of jobs may say, checked. */
import { InvalidOptionError } from "../api/errors.js"
import type { JobState } from "../api/events.js"
import type { JobFilter } from "../api/queue.js"
import { encode } from "../codec/codec.js"
import { badOption, describeValue } from "../lib/invalid-option.js"
import { checkDate, isList, readOptions } from "../lib/option-checks.js"
import { textFault } from "../lib/text.js"
import { isUuid } from "../lib/uuid.js"

export const LIVE_STATES: readonly JobState[] = ["waiting", "delayed", "blocked", "active"]
export const END_STATES: readonly JobState[] = ["completed", "failed", "expired", "cancelled"]

const KNOWN = ["state", "queue", "task", "text", "args", "since", "until", "order", "limit", "after"] as const
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
function checkStates(given: unknown): readonly JobState[] {
  const all = [...LIVE_STATES, ...END_STATES]
  if (given === undefined) return all
  const states: readonly unknown[] = isList(given) ? [...given] : [given]
  for (const state of states) {
    if (!all.includes(state as JobState)) throw new InvalidOptionError(`state is ${describeValue(state)}; write one of ${all.join(", ")}`)
  }
  return states as readonly JobState[]
}

/** @throws InvalidOptionError */
export function checkFilter(given: JobFilter): CheckedFilter {
  const filter: JobFilter = readOptions(given, KNOWN, "The filter of jobs")
  const limit = filter.limit === undefined ? DEFAULT_LIMIT : filter.limit
  const bounds: { since?: Date; until?: Date } = {}
  if (filter.order !== undefined && filter.order !== "newest" && filter.order !== "oldest") {
    throw new InvalidOptionError(`order is ${describeValue(filter.order)}; write "newest" or "oldest"`)
  }
  if (!(Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_LIMIT))
    throw new InvalidOptionError(`limit is ${describeValue(limit)}; write 1 to ${MAX_LIMIT}`)
  if (filter.after !== undefined && !(typeof filter.after === "string" && isUuid(filter.after)))
    throw new InvalidOptionError(`after is ${describeValue(filter.after)}; write the \`next\` of the page before`)
  for (const field of ["queue", "task", "text"] as const) {
    const fault = typeof filter[field] === "string" ? textFault(filter[field]) : filter[field] === undefined ? undefined : "is no text"
    if (fault !== undefined) throw badOption(`${field} of the filter of jobs (${describeValue(filter[field])}) ${fault}; write a text`)
  }
  for (const field of ["since", "until"] as const) {
    if (filter[field] !== undefined) bounds[field] = checkDate(filter[field], `${field} of the filter of jobs`)
  }
  return {
    states: checkStates(filter.state),
    queue: filter.queue,
    task: filter.task,
    text: filter.text,
    args: filter.args === undefined ? undefined : encode(filter.args, "The args of the filter"),
    since: bounds.since,
    until: bounds.until,
    oldestFirst: filter.order === "oldest",
    limit,
    after: filter.after,
  }
}
