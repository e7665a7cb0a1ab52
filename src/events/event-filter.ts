/** What `events.on()` and `events.iterate()` may be asked for. */

import type { JobEventName } from "../api/events.js"
import { invalidOption } from "../lib/invalid-option.js"
import { checkList, checkOneOf, checkText, isA, readOptions } from "../lib/option-checks.js"

const NAMES: Readonly<Record<JobEventName, true>> = {
  "job:added": true,
  "job:started": true,
  "job:progress": true,
  "job:completed": true,
  "job:failed": true,
  "job:retrying": true,
  "job:snoozed": true,
  "job:expired": true,
  "job:cancelled": true,
  "job:stalled": true,
  "job:deduplicated": true,
}
export const EVENT_NAMES: readonly JobEventName[] = Object.keys(NAMES) as JobEventName[]

export interface EventFilter {
  queue?: string
  task?: string
  names?: readonly JobEventName[]
  signal?: AbortSignal
}

/** @throws InvalidOptionError */
export function checkEventFilter(filter: EventFilter): EventFilter {
  const given = readOptions(filter, ["queue", "task", "names", "signal"], "The filter of events")
  const { queue, task, names, signal } = given
  if (queue !== undefined) checkText(queue, "queue of the filter of events")
  if (task !== undefined) checkText(task, "task of the filter of events")
  if (names !== undefined) checkList(names, "names of the filter of events", 'names: ["job:failed"]')
  const listed: readonly JobEventName[] | undefined =
    names === undefined ? undefined : [...names].map((name: unknown) => checkOneOf(name, "names of the filter of events", EVENT_NAMES))
  if (signal !== undefined && !isA(signal, AbortSignal))
    throw invalidOption("signal of the filter of events", signal, "which is no AbortSignal", "write new AbortController().signal, or leave it out")
  return { ...given, ...(listed === undefined ? {} : { names: listed }) }
}
