/** Events as async iterables. */

import type { JobEvent, JobEventName, JobState } from "../api/events.js"
import type { JobSnapshot } from "../api/snapshot.js"
import { onAbort } from "../lib/on-abort.js"
import { holdProcess } from "../lib/timers.js"
import type { EventFeed } from "./event-feed.js"
import type { EventFilter } from "./event-filter.js"

/** Events not yet read beyond which the oldest are dropped: a reader that stalls must not fill the memory. */
const MAX_UNREAD = 100_000

const END_EVENTS: ReadonlySet<JobEventName> = new Set<JobEventName>(["job:completed", "job:failed", "job:expired", "job:cancelled"])

/** Events of all jobs that match, until the loop is left or the signal aborts. */
export async function* iterateEvents(feed: EventFeed, filter: EventFilter): AsyncGenerator<JobEvent, void, undefined> {
  const unread = new Unread()
  const matches = (event: JobEvent): boolean =>
    (filter.queue === undefined || event.queue === filter.queue) &&
    (filter.task === undefined || event.task === filter.task) &&
    (filter.names === undefined || filter.names.includes(event.name))
  const off = feed.subscribe("*", (event) => {
    if (matches(event)) unread.push(event)
  })
  const stop = (): void => unread.end()
  const forget = filter.signal === undefined ? undefined : onAbort(filter.signal, stop)
  if (filter.signal?.aborted) stop()
  try {
    yield* unread.read()
  } finally {
    off()
    forget?.()
  }
}

/** Events of one job: first its state as it is, then what happens, until its end. */
export async function* jobEvents(
  id: string,
  feed: EventFeed,
  read: () => Promise<JobSnapshot>,
  ended: (signal: AbortSignal) => Promise<JobSnapshot>,
): AsyncGenerator<JobEvent, void, undefined> {
  const unread = new Unread()
  const aborter = new AbortController()
  const off = feed.subscribe("*", (event) => {
    if (event.id === id) unread.push(event)
  })
  try {
    await off.ready
    const first = eventsOfState(await read())
    let progress = ""
    for (const event of first) {
      if (event.name === "job:progress") progress = progressOf(event)
      yield event
    }
    if (first.some((event) => END_EVENTS.has(event.name))) return
    // The end comes even if its notification is lost.
    ended(aborter.signal).then(
      (snapshot) => {
        for (const event of eventsOfState(snapshot)) if (END_EVENTS.has(event.name)) unread.push(event)
      },
      () => unread.end(),
    )
    for await (const event of unread.read()) {
      // Told already, as the state that we began with.
      if (event.name === "job:progress") {
        // The same again, as stored and as reported, is no news.
        if (progressOf(event) === progress) continue
        progress = progressOf(event)
      } else if (first.some((known) => known.name === event.name && known.attempt === event.attempt)) continue
      yield event
      if (END_EVENTS.has(event.name)) return
    }
  } finally {
    off()
    aborter.abort()
  }
}

function progressOf({ attempt, progress, data }: JobEvent): string {
  return JSON.stringify([attempt, progress, data])
}

/** A job's state, told as the event that led to it. */
function eventsOfState(job: JobSnapshot): JobEvent[] {
  const base = { id: job.id, task: job.task, queue: job.queue }
  const names: Record<JobState, JobEventName> = {
    waiting: "job:added",
    delayed: job.attempt > 0 ? "job:retrying" : "job:added",
    blocked: "job:added",
    active: "job:started",
    completed: "job:completed",
    failed: "job:failed",
    expired: "job:expired",
    cancelled: "job:cancelled",
  }
  const at = job.finishedAt ?? job.startedAt ?? job.createdAt
  const event: JobEvent = {
    ...base,
    name: names[job.state],
    at,
    ...(job.attempt > 0 ? { attempt: job.attempt } : {}),
    ...(job.error === null || job.state === "completed" ? {} : { error: job.error }),
  }
  if (job.state !== "active" || job.progress === null) return [event]
  const { fraction, data } = job.progress
  return [event, { ...base, name: "job:progress", at, attempt: job.attempt, progress: fraction, ...(data === undefined ? {} : { data }) }]
}

/** Events on their way to a reader. */
class Unread {
  #events: JobEvent[] = []
  #wake: (() => void) | undefined
  #ended = false

  push(event: JobEvent): void {
    this.#events.push(event)
    if (this.#events.length > MAX_UNREAD) this.#events.shift()
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  async *read(): AsyncGenerator<JobEvent, void, undefined> {
    for (;;) {
      for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) yield event
      if (this.#ended) return
      // Nothing else need keep the process of somebody who waits here.
      const release = holdProcess()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      }).finally(release)
    }
  }
}
