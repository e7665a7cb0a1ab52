/**
 * Virtual time: what is to happen stands in one queue, and time jumps from one event to the next.
 *
 * An event belongs to a process, or to the world (the database, the network, other people). A process can be blocked, as an event loop is by code
 * that computes: its events then wait until it goes on, timers and answers in either order, while the world does not. One that was killed has no
 * events any more. Between two events all promises settle. Whatever the code under test asks for (timers, clocks, random numbers) comes from here.
 */
import { replaceTimers, type Timers } from "../../src/lib/timers.js"
import type { Random } from "../support/random.js"

interface Event {
  at: number
  /** Decides between events of one moment. */
  order: number
  readonly process: Process | undefined
  readonly timer: boolean
  readonly run: () => void
  cancelled: boolean
}

/** A process with its event loop. */
export interface Process {
  readonly name: string
  dead: boolean
  blockedUntil: number
  /** It has no network until then. */
  cutOffUntil: number
  /** After a block: whether answers that have come meanwhile are read before timers fire. */
  answersFirst: boolean
  /** Timers that would keep it alive. */
  readonly timers: Set<Timer>
}

/** What setTimeout and its like return here. */
class Timer {
  event: Event | undefined
  readonly #process: Process
  constructor(process: Process) {
    this.#process = process
    process.timers.add(this)
  }
  unref(): this {
    this.#process.timers.delete(this)
    return this
  }
  ref(): this {
    return this
  }
  hasRef(): boolean {
    return this.#process.timers.has(this)
  }
  done(): void {
    if (this.event !== undefined) this.event.cancelled = true
    this.#process.timers.delete(this)
  }
  [Symbol.toPrimitive](): number {
    return 0
  }
}

const real = {
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  random: Math.random,
  now: Date.now,
}

/** What the last event has set going with promises is over: Node takes the next tick when no promise has anything left to do. */
const settled = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

export class VirtualTime {
  now = 1_000
  events = 0
  readonly #queue: Event[] = []
  readonly #random: Random
  #order = 0
  #current: Process | undefined

  constructor(random: Random) {
    this.#random = random
  }

  newProcess(name: string): Process {
    return { name, dead: false, blockedUntil: 0, cutOffUntil: 0, answersFirst: false, timers: new Set() }
  }

  /** The process whose code runs just now. */
  get current(): Process | undefined {
    return this.#current
  }

  /** Numbers moments: what has the lower one came first. */
  tick(): number {
    return this.#order++
  }

  /** In so many milliseconds; with a process, in its event loop. */
  in(ms: number, run: () => void, process?: Process): void {
    this.#add(this.now + Math.max(ms, 0), run, process, false)
  }

  /** Runs code of a process now, as part of the event that is going on. */
  as<T>(process: Process, work: () => T): T {
    const before = this.#current
    this.#current = process
    try {
      return work()
    } finally {
      this.#current = before
    }
  }

  /** Runs events until `done` says so, or until there are none, or this moment is reached. */
  async run(until: number, done: () => boolean = () => false): Promise<void> {
    await new Promise((resolve) => real.setImmediate(resolve))
    while (this.#queue.length > 0 && !done()) {
      const event = this.#queue[0]!
      if (event.at > until) break
      this.#pop()
      const { process } = event
      if (event.cancelled || process?.dead) continue
      if (process !== undefined && process.blockedUntil > event.at) {
        // Late ones keep their order, but the loop reads one kind first.
        event.order = this.#order++ + (event.timer === process.answersFirst ? 2 ** 40 : 0)
        event.at = process.blockedUntil
        this.#push(event)
        continue
      }
      this.now = Math.max(this.now, event.at)
      this.events++
      this.#current = process
      event.run()
      await settled()
      this.#current = undefined
    }
    if (!done()) this.now = Math.max(this.now, until)
  }

  /** Takes the place of the globals until the function that it returns is called. */
  install(): () => void {
    const timer = (run: () => void, ms: number, every: boolean): Timer => {
      const process = this.#current
      if (process === undefined) throw new Error("A timer was set by nobody")
      const made = new Timer(process)
      const set = (): void => {
        const fire = (): void => {
          if (every) set()
          else made.done()
          run()
        }
        // Whole milliseconds, as Node has them, and a little late.
        made.event = this.#add(this.now + Math.max(1, Math.trunc(ms)) + this.#random.next() * 0.5, fire, process, true)
      }
      set()
      return made
    }
    const timers = {
      setTimeout: (run: (...args: any[]) => void, ms = 1, ...args: unknown[]) => timer(() => run(...args), ms, false),
      setInterval: (run: (...args: any[]) => void, ms = 1, ...args: unknown[]) => timer(() => run(...args), ms, true),
      clearTimeout: (made?: Timer) => made?.done(),
      clearInterval: (made?: Timer) => made?.done(),
      setImmediate: (run: (...args: any[]) => void, ...args: unknown[]) => this.#add(this.now, () => run(...args), this.#current, true),
      clearImmediate: (made?: Event) => {
        if (made !== undefined) made.cancelled = true
      },
    }
    const wallClock = (): number => Math.trunc(1_700_000_000_000 + this.now)
    const restore = replaceTimers({ ...timers, now: () => this.now, wallClock } as unknown as Timers)
    // What is not the library's own, as the handlers of a history, has the same time.
    Object.assign(globalThis, timers)
    Math.random = () => this.#random.next()
    Date.now = wallClock
    Object.defineProperty(performance, "now", { configurable: true, value: () => this.now })
    return () => {
      restore()
      const { random, now, ...globals } = real
      Object.assign(globalThis, globals)
      Math.random = random
      Date.now = now
      Reflect.deleteProperty(performance, "now")
    }
  }

  #add(at: number, run: () => void, process: Process | undefined, timer: boolean): Event {
    const event: Event = { at, order: this.#order++, process, timer, run, cancelled: false }
    this.#push(event)
    return event
  }

  #push(event: Event): void {
    const queue = this.#queue
    let at = queue.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(event, queue[parent]!)) break
      queue[at] = queue[parent]!
      at = parent
    }
    queue[at] = event
  }

  #pop(): void {
    const queue = this.#queue
    const last = queue.pop()!
    if (queue.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= queue.length) break
      if (child + 1 < queue.length && before(queue[child + 1]!, queue[child]!)) child++
      if (!before(queue[child]!, last)) break
      queue[at] = queue[child]!
      at = child
    }
    queue[at] = last
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
