/**
 * Wake-ups: hints that jobs became claimable, fell due sooner, were cancelled, or that a queue's settings changed. A hint may be lost or come
 * twice; polling is the floor under all of them.
 *
 * Within a process the hint is a function call (`WakeHub`). To other processes it is a NOTIFY (`Notifier`, sql/functions/add_job.sql), sent after the
 * commit that it speaks of: inside that transaction it would hold a database-wide lock through the commit.
 */
import type { Logger } from "../logger.js"
import { SerialWork } from "../serial-work.js"
import { performance, setTimeout } from "../timers.js"
import type { SchemaNames } from "./names.js"
import type { Runner } from "./pool.js"
import type { Statements } from "./statements.js"

/** Work in a lane: a queue and a priority, and the lowest seq that may be new there. */
export interface LaneHint {
  readonly queue: string
  readonly priority: number
  readonly seq: number
}

/** As a priority that no job can have: jobs whose tasks have limits, all in one lane (sql/functions/lane.sql); their seq means nothing. */
export const LIMITED_LANE = 32_768
/** A sweep says by this lane that the queue itself is limited. */
export const LIMITED_QUEUE = 32_769

export type Hint =
  | { readonly kind: "lane"; readonly lane: LaneHint }
  | { readonly kind: "due"; readonly ms: number }
  | { readonly kind: "cancel"; readonly ids: readonly string[] }
  | { readonly kind: "queue"; readonly queue: string }
  | { readonly kind: "ended"; readonly ids: readonly string[] }
  | { readonly kind: "subscribed" }

/** Lanes as SQL returns them: [[queue, priority, seq], …]. */
export function lanesOf(value: unknown): LaneHint[] {
  if (!Array.isArray(value)) return []
  return value.map(([queue, priority, seq]) => ({ queue: String(queue), priority: Number(priority), seq: Number(seq) }))
}

/** Reads a notification; undefined for one that is not ours or comes from this process, which has had the hint already. */
export function parseHint(payload: string, self: string): Hint | undefined {
  let message: unknown
  try {
    message = JSON.parse(payload)
  } catch {
    return undefined
  }
  if (!Array.isArray(message) || message.at(-1) === `@${self}`) return undefined
  const [kind, a, b, c] = message as unknown[]
  if (kind === "j" && typeof a === "string" && Number.isInteger(b) && Number.isSafeInteger(c)) {
    return { kind: "lane", lane: { queue: a, priority: b as number, seq: c as number } }
  }
  if (kind === "d" && typeof a === "number" && Number.isFinite(a)) return { kind: "due", ms: Math.max(0, a) }
  if (kind === "c" && Array.isArray(a)) return { kind: "cancel", ids: a.filter((id) => typeof id === "string") }
  if (kind === "s") return { kind: "subscribed" }
  if (kind === "e" && Array.isArray(a)) return { kind: "ended", ids: a.filter((id) => typeof id === "string") }
  if (kind === "q" && typeof a === "string") return { kind: "queue", queue: a }
  return undefined
}

/** Carries hints between the producers and workers of one process. */
export class WakeHub {
  readonly #listeners = new Set<(hint: Hint) => void>()

  emit(hint: Hint): void {
    for (const listener of this.#listeners) listener(hint)
  }

  listen(listener: (hint: Hint) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** NOTIFY payloads are limited to 8,000 bytes; a batch of ids stays well under. */
const IDS_A_MESSAGE = 150

/** A wake-up that takes longer serves nobody: polling has found the jobs, and whoever drains or closes waits for it. */
const ANSWER_MS = 5_000

/**
 * The least time between two statements. Whoever enqueues jobs one after the other, a thousand a second, would spend half of it on wake-ups, and
 * wake workers that are awake.
 */
const PAUSE_MS = 2

/** Sends hints to other processes, coalesced: the first leaves at once; what comes while it is on its way, or in a moment after, joins the next. */
export class Notifier {
  readonly hub: WakeHub
  readonly #runner: Runner
  readonly #notify: Statements["notify"]
  readonly channel: string
  /** Marks this process's messages. */
  readonly self: string
  readonly #logger: Logger
  #lanes = new Map<string, LaneHint>()
  #due = Number.POSITIVE_INFINITY
  #messages: unknown[][] = []
  #sentAt = Number.NEGATIVE_INFINITY
  // A round begins a turn later, so that the hints of one burst leave together.
  readonly #sending = new SerialWork(() => this.#sendAll())

  /** `self` marks this process's messages, so that it does not act on them twice. */
  constructor(options: { hub: WakeHub; runner: Runner; statements: Pick<Statements, "notify">; names: SchemaNames; self: string; logger: Logger }) {
    this.hub = options.hub
    this.#runner = options.runner
    this.#notify = options.statements.notify
    this.channel = options.names.channel
    this.self = options.self
    this.#logger = options.logger
  }

  /** Hints this process at once and the others soon after. Never throws: what is lost here, polling finds. */
  wake(lanes: readonly LaneHint[], dueMs?: number | null): void {
    for (const lane of lanes) {
      const key = `${lane.priority} ${lane.queue}`
      const known = this.#lanes.get(key)
      if (known === undefined || lane.seq < known.seq) this.#lanes.set(key, lane)
    }
    if (dueMs != null) this.#due = Math.min(this.#due, dueMs)
    this.told(lanes, dueMs)
    if (lanes.length > 0 || dueMs != null) this.#sending.ask()
  }

  /**
   * Whether a hint may leave with the very statement that it speaks of, now. Whoever is told so sends it, marked with `self` on `channel`, and says
   * `told` afterwards.
   */
  mayRide(): boolean {
    if (this.#sending.busy || performance.now() < this.#sentAt + PAUSE_MS) return false
    this.#sentAt = performance.now()
    return true
  }

  /** Other processes have had these hints already. */
  told(lanes: readonly LaneHint[], dueMs?: number | null): void {
    for (const lane of lanes) this.hub.emit({ kind: "lane", lane })
    if (dueMs != null) this.hub.emit({ kind: "due", ms: dueMs })
  }

  /** These running jobs are to be cancelled, or are gone. */
  cancel(ids: readonly string[]): void {
    this.#tell("cancel", "c", ids)
  }

  /** These jobs, for which somebody waits, have ended. */
  ended(ids: readonly string[]): void {
    this.#tell("ended", "e", ids)
  }

  /** Somebody listens to events now. */
  subscribed(): void {
    this.hub.emit({ kind: "subscribed" })
    this.#messages.push(["s"])
    this.#sending.ask()
  }

  #tell(kind: "cancel" | "ended", letter: string, ids: readonly string[]): void {
    if (ids.length === 0) return
    this.hub.emit({ kind, ids })
    for (let i = 0; i < ids.length; i += IDS_A_MESSAGE) this.#messages.push([letter, ids.slice(i, i + IDS_A_MESSAGE)])
    this.#sending.ask()
  }

  queueChanged(queue: string): void {
    this.hub.emit({ kind: "queue", queue })
    this.#messages.push(["q", queue])
    this.#sending.ask()
  }

  /** Resolves when all that was asked for has been sent, or has failed. */
  flush(): Promise<void> {
    return this.#sending.idle()
  }

  async #sendAll(): Promise<void> {
    while (this.#lanes.size > 0 || this.#due !== Number.POSITIVE_INFINITY || this.#messages.length > 0) {
      const rest = this.#sentAt + PAUSE_MS - performance.now()
      // A timer drops fractions of a millisecond.
      if (rest > 0) await new Promise((resolve) => setTimeout(resolve, Math.ceil(rest)))
      this.#sentAt = performance.now()
      const messages = [...this.#messages, ...[...this.#lanes.values()].map((l) => ["j", l.queue, l.priority, l.seq])]
      if (this.#due !== Number.POSITIVE_INFINITY) messages.push(["d", Math.ceil(this.#due)])
      this.#messages = []
      this.#lanes = new Map()
      this.#due = Number.POSITIVE_INFINITY
      try {
        const values = [this.channel, messages.map((m) => JSON.stringify([...m, `@${this.self}`]))]
        await this.#runner.run({ ...this.#notify, values }, ANSWER_MS)
      } catch (error) {
        this.#logger.debug("a wake-up could not be sent; workers find the jobs by polling", { error })
      }
    }
  }
}
