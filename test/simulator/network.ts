/** The way to the scripted database: pools and connections like pg's, with faults by the seed. */
import type pg from "pg"
import type { Random } from "../support/random.js"
import type { Claim, SimulatedDatabase } from "./database.js"
import type { Process, VirtualTime } from "./time.js"

/** What may happen to a statement; the shares add up to the chance that something does. */
export interface Weather {
  /** The connection breaks, before or after the statement took effect. */
  breaks: number
  /** No answer comes; the statement takes effect now, late, or never. */
  silence: number
  /** The server refuses it: a deadlock, a time-out. */
  refused: number
  /** A connection cannot be made. */
  unreachable: number
  /** Milliseconds of a way, at most. */
  latency: number
}

export const CALM: Weather = { breaks: 0, silence: 0, refused: 0, unreachable: 0, latency: 3 }
const NAMELESS: readonly [RegExp, string][] = [
  [/^delete from .*workers/, "deregister"],
  [/default_transaction_isolation/, "isolation"],
]
const TRANSIENT = ["40P01", "57014", "55P03", "53300"]

export class Network {
  weather: Weather = CALM
  /** Nothing comes through until then. */
  outageUntil = 0
  sent = 0
  readonly time: VirtualTime
  readonly random: Random
  readonly database: SimulatedDatabase
  readonly trace: (line: () => string) => void
  readonly pools = new Set<SimulatedPool>()

  constructor(options: { time: VirtualTime; random: Random; database: SimulatedDatabase; trace: (line: () => string) => void }) {
    this.time = options.time
    this.random = options.random
    this.database = options.database
    this.trace = options.trace
  }

  down(process: Process): boolean {
    return this.time.now < Math.max(this.outageUntil, process.cutOffUntil)
  }

  way(): number {
    const { latency } = this.weather
    return 0.1 + this.random.next() * (this.random.chance(0.05) ? latency * 20 : latency)
  }

  /** All connections break, or those of one process, and none can be made for a while. */
  outage(ms: number, process?: Process): void {
    if (process === undefined) this.outageUntil = this.time.now + ms
    else process.cutOffUntil = this.time.now + ms
    for (const pool of this.pools) if (process === undefined || pool.process === process) pool.breakAll()
  }
}

/** What a claim planned when; the world marks its statements so. */
export interface Planned {
  readonly planned?: number
}

export class SimulatedPool {
  readonly process: Process
  readonly network: Network
  readonly max: number
  /** Called with each statement as it is sent, and again with what was answered. */
  readonly watch: ((query: pg.QueryConfig & Planned, rows: readonly any[] | undefined) => void) | undefined
  readonly clients = new Set<SimulatedClient>()
  #idle: SimulatedClient[] = []
  #waiting: (() => void)[] = []
  /** Those who wait for its end: it waits for clients that are still out, as pg's does. */
  #onEmpty: (() => void)[] = []
  ended = false

  constructor(network: Network, process: Process, max: number, watch?: SimulatedPool["watch"]) {
    this.network = network
    this.process = process
    this.max = max
    this.watch = watch
    network.pools.add(this)
  }

  on(): this {
    return this
  }

  get busy(): number {
    return this.clients.size - this.#idle.length
  }

  async connect(): Promise<SimulatedClient> {
    if (this.ended) throw new Error("Cannot use a pool after calling end on the pool")
    const deadline = this.network.time.now + 10_000
    for (;;) {
      const idle = this.#idle.pop()
      if (idle !== undefined) return idle
      if (this.clients.size < this.max) return this.#open()
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
        this.network.time.in(deadline - this.network.time.now, resolve, this.process)
      })
      if (this.network.time.now >= deadline) throw new Error("timeout exceeded when trying to connect")
    }
  }

  async #open(): Promise<SimulatedClient> {
    const { network } = this
    const client = new SimulatedClient(this)
    this.clients.add(client)
    const failing = network.down(this.process) || network.random.chance(network.weather.unreachable)
    const silent = failing && network.random.chance(0.3)
    await new Promise<void>((resolve) => network.time.in(silent ? 10_000 : network.way(), resolve, this.process))
    if (!failing) return client
    this.clients.delete(client)
    this.#next()
    throw silent ? new Error("timeout exceeded when trying to connect") : Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })
  }

  released(client: SimulatedClient, error: unknown): void {
    if (error || client.broken || this.ended) {
      this.clients.delete(client)
      client.broken = true
    } else this.#idle.push(client)
    this.#next()
  }

  breakAll(): void {
    for (const client of this.#idle.splice(0)) this.clients.delete(client)
    for (const client of this.clients) client.break()
    this.#next()
  }

  #next(): void {
    if (this.ended && this.clients.size === 0) for (const resolve of this.#onEmpty.splice(0)) resolve()
    this.#waiting.shift()?.()
  }

  async end(): Promise<void> {
    this.ended = true
    for (const client of this.#idle.splice(0)) this.clients.delete(client)
    if (this.clients.size > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve))
  }
}

export class SimulatedClient {
  readonly #pool: SimulatedPool
  broken = false
  #fail: ((error: Error) => void) | undefined

  constructor(pool: SimulatedPool) {
    this.#pool = pool
  }

  on(): this {
    return this
  }
  off(): this {
    return this
  }
  release(error?: unknown): void {
    this.#pool.released(this, error)
  }

  break(): void {
    this.broken = true
    this.#fail?.(new Error("Connection terminated unexpectedly"))
  }

  query(query: string | (pg.QueryConfig & Planned)): Promise<{ rows: readonly any[] }> {
    const { network, process, watch } = this.#pool
    const { time, random, weather, database } = network
    const { name, text, values: texts = [], planned } = typeof query === "string" ? { name: undefined, text: query } : query
    const values = texts.map(valueOf)
    if (this.broken) return Promise.reject(new Error("Client has encountered a connection error and is not queryable"))
    const statement = name ?? NAMELESS.find(([pattern]) => pattern.test(text))?.[1] ?? text
    const claim: Claim = { answered: false }
    const number = ++network.sent
    const say = (what: () => string): void => network.trace(() => `${process.name} #${number} ${statement} ${what()}`)
    watch?.({ name: statement, text, values, ...(planned === undefined ? {} : { planned }) }, undefined)
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        if (this.#fail !== fail) return
        this.#fail = undefined
        time.in(network.way(), () => reject(error), process)
      }
      this.#fail = fail
      const answer = (rows: readonly any[]): void => {
        if (this.#fail !== fail || this.broken) {
          say(() => "answer lost")
          return
        }
        this.#fail = undefined
        claim.answered = true
        say(() => `answered, ${rows.length} rows`)
        watch?.({ name: statement, text, values, ...(planned === undefined ? {} : { planned }) }, rows)
        resolve({ rows })
      }
      const execute = (thenAnswer: boolean): void => {
        let rows: readonly any[]
        try {
          rows = database.execute(statement, values, claim)
          say(() => `${brief(values)} -> ${brief(rows)}`)
        } catch (error) {
          if (!("code" in (error as object))) throw error
          say(() => "refused")
          return void (thenAnswer && fail(error as Error))
        }
        if (thenAnswer) time.in(network.way(), () => answer(rows), process)
      }
      const lost = (): void => {
        this.break()
      }
      say(() => "sent")
      const dice = random.next()
      if (network.down(process) || dice < weather.breaks) {
        if (random.chance()) time.in(network.way(), () => execute(false))
        time.in(network.way() * 2, lost)
      } else if (dice < weather.breaks + weather.silence) {
        if (random.chance(0.6)) time.in(random.chance(0.3) ? random.int(100, 20_000) : network.way(), () => execute(false))
      } else if (dice < weather.breaks + weather.silence + weather.refused) {
        const code = random.pick(TRANSIENT)
        time.in(network.way(), () => fail(Object.assign(new Error(`refused with ${code}`), { code })))
      } else time.in(network.way(), () => execute(true))
    })
  }
}

/** A parameter, which comes as text (src/postgres/run/values.ts), as what it says: a number, a boolean, an array of those and of texts, or a text. */
function valueOf(text: unknown): unknown {
  if (typeof text !== "string") return text
  if (text === "true" || text === "false") return text === "true"
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text)
  if (!text.startsWith("{") || !text.endsWith("}")) return text
  const elements = text.slice(1, -1).matchAll(/"((?:[^"\\]|\\.)*)"|([^",]+)/gs)
  return [...elements].map(([, quoted, plain]) => (plain === "NULL" ? null : valueOf(plain ?? quoted?.replace(/\\(.)/gs, "$1"))))
}

function brief(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll("00000000-0000-7000-8000-00000000", "job ")
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]{22}/g, "…")
    .slice(0, 300)
}
