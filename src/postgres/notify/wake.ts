/**
 * Wake-ups: hints that jobs became claimable, fell due sooner, were cancelled, or that a queue's settings changed. A hint may be lost or come
 * twice; polling is the floor under all of them.
 *
 * Within a process the hint is a function call (`WakeHub`). To other processes it is a NOTIFY (`Notifier`, sql/functions/add_job.sql), sent after the
 * commit that it speaks of: inside that transaction it would hold a database-wide lock through the commit.
 *
 * One worker is enough for a job, so a hint about a lane is meant for one: a worker of the same process that has a free slot, else one that the server
 * picks (sql/functions/wake_lane.sql). Another one, the guard, looks a moment later whether the jobs are gone (src/worker/claim/wake-guard.ts).
 */
import type { Logger } from "../../api/logger.js"
import { SerialWork } from "../../lib/serial-work.js"
import { performance, setTimeout } from "../../lib/timers.js"
import type { Runner } from "../run/pool.js"
import type { SchemaNames } from "../statements/names.js"
import type { Statements } from "../statements/statements.js"

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

/** The level of a hint that all workers have had: there is nobody left to pass it on to. */
export const ALL_WORKERS: number = Number.POSITIVE_INFINITY

export type Hint =
  /** 4 ^ level workers were notified; `lead`: this one, of them, passes on what they leave. */
  | { readonly kind: "lane"; readonly lane: LaneHint; readonly level: number; readonly lead: boolean }
  /** Look in a moment whether the jobs of this lane are gone. */
  | { readonly kind: "guard"; readonly lane: LaneHint }
  | { readonly kind: "due"; readonly ms: number }
  | { readonly kind: "cancel"; readonly ids: readonly string[] }
  | { readonly kind: "queue"; readonly queue: string }
  | { readonly kind: "ended"; readonly ids: readonly string[] }
  | { readonly kind: "subscribed" }
  /** Another worker has begun to listen. */
  | { readonly kind: "joined" }

/** Lanes as SQL returns them: [[queue, priority, seq], …]. */
export function lanesOf(value: unknown): LaneHint[] {
  if (!Array.isArray(value)) return []
  return value.map(([queue, priority, seq]) => ({ queue: String(queue), priority: Number(priority), seq: Number(seq) }))
}

/** The channel of one worker, as sql/functions/wake_lane.sql names it. */
export const workerChannel = (workerId: string): string => `pgtusk:${workerId}`

/** Not for workers that are picked by name: they have been, or another one has. */
const FOR_OTHERS = "+"

function parsed(payload: string): unknown[] | undefined {
  try {
    const message: unknown = JSON.parse(payload)
    return Array.isArray(message) ? message : undefined
  } catch {
    return undefined
  }
}

function laneOf([, queue, priority, seq]: readonly unknown[]): LaneHint | undefined {
  if (typeof queue !== "string" || !Number.isInteger(priority) || !Number.isSafeInteger(seq)) return undefined
  return { queue, priority: priority as number, seq: seq as number }
}

/** Reads a notification on the channel of one worker; undefined for one that is not ours. */
export function parseDirect(payload: string): Hint | undefined {
  const message = parsed(payload)
  if (message === undefined) return undefined
  const lane = laneOf(message)
  const [kind, ms] = message
  if (kind === "j" && lane !== undefined) return { kind: "lane", lane, level: Number(message[4]) || 0, lead: message[5] === true }
  if (kind === "g" && lane !== undefined) return { kind: "guard", lane }
  if (kind === "d" && typeof ms === "number" && Number.isFinite(ms)) return { kind: "due", ms: Math.max(0, ms) }
  return undefined
}

/** Reads a notification on the schema's channel; undefined for one that is not ours or comes from this process, which has had the hint already. */
export function parseHint(payload: string, self: string): Hint | undefined {
  const message = parsed(payload)
  if (message === undefined || message.at(-1) === `@${self}`) return undefined
  const [kind, a, b] = message
  const lane = laneOf(message)
  if (kind === "j" && lane !== undefined && message[4] !== FOR_OTHERS) return { kind: "lane", lane, level: ALL_WORKERS, lead: false }
  if (kind === "d" && typeof a === "number" && Number.isFinite(a) && b !== FOR_OTHERS) return { kind: "due", ms: Math.max(0, a) }
  if (kind === "c" && Array.isArray(a)) return { kind: "cancel", ids: a.filter((id) => typeof id === "string") }
  if (kind === "s") return { kind: "subscribed" }
  if (kind === "w") return { kind: "joined" }
  if (kind === "e" && Array.isArray(a)) return { kind: "ended", ids: a.filter((id) => typeof id === "string") }
  if (kind === "q" && typeof a === "string") return { kind: "queue", queue: a }
  return undefined
}

/** A worker of this process. */
export interface Taker {
  readonly id: string
  /** Whether it would start a job of this queue now. */
  takes(queue: string): boolean
}

type HubListener = (hint: Hint, meant: boolean) => void

/** Carries hints between the producers and workers of one process. */
export class WakeHub {
  /** In the order in which workers are offered a lane; who has taken one goes to the end. */
  readonly #listeners = new Map<HubListener, Taker | undefined>()

  /**
   * `meant`, for a listener that is a worker: whether it is the one that takes the jobs of this lane. Returns the id of that one. Where none takes them now,
   * they are meant for all: the first to have a free slot looks, if another process has not taken them by then.
   */
  emit(hint: Hint): string | undefined {
    if (hint.kind !== "lane") {
      for (const listener of [...this.#listeners.keys()]) listener(hint, true)
      return undefined
    }
    const [chosen, taker] = this.#choose(hint.lane.queue)
    const told = chosen === undefined ? { ...hint, level: ALL_WORKERS, lead: false } : hint
    for (const listener of [...this.#listeners.keys()]) listener(told, chosen === undefined || listener === chosen)
    return taker?.id
  }

  /** The id of the worker that would take jobs of this queue now. */
  taker(queue: string): string | undefined {
    for (const taker of this.#listeners.values()) if (taker?.takes(queue)) return taker.id
    return undefined
  }

  listen(listener: HubListener, taker?: Taker): () => void {
    this.#listeners.set(listener, taker)
    return () => this.#listeners.delete(listener)
  }

  #choose(queue: string): readonly [HubListener, Taker] | [] {
    for (const [listener, taker] of this.#listeners) {
      if (!taker?.takes(queue)) continue
      this.#listeners.delete(listener)
      this.#listeners.set(listener, taker)
      return [listener, taker]
    }
    return []
  }
}

/** A lane that other processes are still to be notified of. `taker`: a worker here that takes the jobs, or, above level 0, that asks for others. */
interface Wanted {
  readonly lane: LaneHint
  readonly taker: string | undefined
  readonly level: number
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
  readonly #wake: Statements["wake"]
  readonly channel: string
  /** Marks this process's messages. */
  readonly self: string
  readonly #logger: Logger
  #lanes = new Map<string, Wanted>()
  #due = Number.POSITIVE_INFINITY
  #messages: unknown[][] = []
  #sentAt = Number.NEGATIVE_INFINITY
  // A round begins a turn later, so that the hints of one burst leave together.
  readonly #sending = new SerialWork(() => this.#sendAll())

  /** `self` marks this process's messages, so that it does not act on them twice. */
  constructor(options: { hub: WakeHub; runner: Runner; statements: Pick<Statements, "wake">; names: SchemaNames; self: string; logger: Logger }) {
    this.hub = options.hub
    this.#runner = options.runner
    this.#wake = options.statements.wake
    this.channel = options.names.channel
    this.self = options.self
    this.#logger = options.logger
  }

  /** Hints this process at once and the others soon after. Never throws: what is lost here, polling finds. */
  wake(lanes: readonly LaneHint[], dueMs?: number | null): void {
    for (const lane of lanes) {
      const taker = this.hub.emit({ kind: "lane", lane, level: 0, lead: true })
      const key = `${lane.priority} ${lane.queue}`
      const known = this.#lanes.get(key)
      // Several hints of one burst: the worker here has to want all of them.
      if (known === undefined) this.#lanes.set(key, { lane, taker, level: 0 })
      else this.#lanes.set(key, { lane: lane.seq < known.lane.seq ? lane : known.lane, taker: known.taker && taker, level: known.level })
    }
    if (dueMs != null) {
      this.#due = Math.min(this.#due, dueMs)
      this.hub.emit({ kind: "due", ms: dueMs })
    }
    if (lanes.length > 0 || dueMs != null) this.#sending.ask()
  }

  /** There is more in this lane than the worker `by` takes: 4 ^ level others are to look. */
  relay(lane: LaneHint, level: number, by: string): void {
    this.#lanes.set(`${lane.priority} ${lane.queue} ${by}`, { lane, taker: by, level })
    this.#sending.ask()
  }

  /**
   * The mark with which a hint about jobs of this queue may leave in the very statement that stores them, on `channel`; undefined: it may not, now.
   * Whoever sends it says `told` afterwards.
   */
  ride(queue: string): string | undefined {
    if (this.#sending.busy || performance.now() < this.#sentAt + PAUSE_MS) return undefined
    this.#sentAt = performance.now()
    const taker = this.hub.taker(queue)
    return taker === undefined ? this.self : `${this.self} ${taker}`
  }

  /** Other processes have had these hints already. */
  told(lanes: readonly LaneHint[], dueMs?: number | null): void {
    for (const lane of lanes) this.hub.emit({ kind: "lane", lane, level: 0, lead: true })
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

  /** A worker has begun to listen. */
  joined(): void {
    this.#messages.push(["w"])
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
      const lanes = [...this.#lanes.values()].map(({ lane, taker, level }) => [lane.queue, lane.priority, lane.seq, taker ?? null, level])
      const due = this.#due === Number.POSITIVE_INFINITY ? null : this.#due
      const messages = this.#messages
      this.#messages = []
      this.#lanes = new Map()
      this.#due = Number.POSITIVE_INFINITY
      try {
        const mark = `@${this.self}`
        const values = [this.channel, JSON.stringify(lanes), due, mark, messages.map((m) => JSON.stringify([...m, mark]))]
        await this.#runner.run({ ...this.#wake, values }, ANSWER_MS)
      } catch (error) {
        this.#logger.debug("a wake-up could not be sent; workers find the jobs by polling", { error })
      }
    }
  }
}
