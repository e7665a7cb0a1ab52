import type { JobEvent, JobEventName } from "../api/events.js"
import type { Logger } from "../api/logger.js"
import { keepContext } from "../lib/async-context.js"
import { guardLogger } from "../lib/safe-logger.js"

type Listener = (event: JobEvent) => void

/** Events of jobs inside this process. An event without a listener costs nothing: callers ask `wants` before they build it. */
export class EventHub {
  readonly #listeners = new Map<JobEventName | "*", Set<Listener>>()
  readonly #logger: Logger

  constructor(logger: Logger) {
    // Whoever emits an event must not hear of a logger's faults.
    this.#logger = guardLogger(logger)
  }

  wants(name: JobEventName): boolean {
    return this.#listeners.has(name) || this.#listeners.has("*")
  }

  on(name: JobEventName | "*", listener: Listener): () => void {
    const set = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, set)
    // A wrapper, so that one function may listen twice and each subscription ends by itself; and in the context of now.
    const entry: Listener = keepContext(listener)
    set.add(entry)
    return () => {
      set.delete(entry)
      if (set.size === 0 && this.#listeners.get(name) === set) this.#listeners.delete(name)
    }
  }

  /** A listener that throws, or whose promise rejects, is logged and harms nothing. */
  emit(event: JobEvent): void {
    for (const key of [event.name, "*"] as const) {
      for (const listener of [...(this.#listeners.get(key) ?? [])]) {
        try {
          const returned: unknown = listener(event)
          if (returned instanceof Promise) returned.catch((error: unknown) => this.#report(event, error))
        } catch (error) {
          this.#report(event, error)
        }
      }
    }
  }

  #report(event: JobEvent, error: unknown): void {
    this.#logger.error(`A listener of ${event.name} threw`, { job: event.id, error })
  }
}
