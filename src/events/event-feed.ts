/**
 * Events across processes.
 *
 * Who listens has a row in `subscribers`, refreshed while it listens. Every statement that makes an event (insert, claim, settle, …) also says
 * whether such a row is fresh, in its own snapshot; only then does its process broadcast the event, by NOTIFY on a channel of its own, several
 * events a message. So events cost nothing while nobody listens, and none is missed that happens after a subscription was committed.
 * Notifications may be lost; events are for watching, not for deciding.
 */

import { randomUUID } from "node:crypto"
import type { JobEvent, JobEventName, Subscription } from "../api/events.js"
import type { Logger } from "../api/logger.js"
import { outside } from "../lib/async-context.js"
import { clearInterval, setImmediate, setInterval, setTimeout } from "../lib/timers.js"
import type { Database } from "../postgres/database.js"
import { render } from "../postgres/statements/names.js"
import type { EventHub } from "./emitter.js"

/** NOTIFY payloads are limited to 8,000 bytes. */
const MAX_MESSAGE_BYTES = 7_500
const MAX_DATA_BYTES = 4_000
const FRESH_MS = 60_000
const REFRESH_MS = 20_000
const RETRY_MS = 5_000
/** Events waiting to be sent; a reader that outruns the network gets the newest. */
const MAX_PENDING = 10_000

export class EventFeed {
  readonly #hub: EventHub
  readonly #database: Database
  readonly #logger: Logger
  readonly #listen: () => Promise<void>
  readonly #id = randomUUID()
  /** Of jobs that are being stored: their first events. */
  readonly #firsts = new Map<string, JobEvent>()
  #wanted = false
  #pending: JobEvent[] = []
  #sending: Promise<void> | undefined
  #subscriptions = 0
  #live: Promise<void> | undefined
  #refresh: NodeJS.Timeout | undefined

  /** `listen` makes sure that the events' channel is listened to. */
  constructor(options: { hub: EventHub; database: Database; logger: Logger; listen: () => Promise<void> }) {
    this.#hub = options.hub
    this.#database = options.database
    this.#logger = options.logger
    this.#listen = options.listen
  }

  /** A statement says whether somebody listens in another process. */
  seen(subscribed: boolean): void {
    this.#wanted = subscribed
  }

  /** Whether somebody here listens. */
  get subscribed(): boolean {
    return this.#subscriptions > 0
  }

  wants(name: JobEventName): boolean {
    return this.#wanted || this.#hub.wants(name)
  }

  /**
   * These jobs are being stored. A worker of this process may start one before its producer hears that it is there; the event that it was added comes
   * first all the same. To be followed by `stored` or `forget` for each.
   */
  storing(firsts: readonly JobEvent[]): void {
    for (const event of firsts) this.#firsts.set(event.id, event)
  }

  /** It is there, in this queue. */
  stored(id: string, queue: string): void {
    const first = this.#firsts.get(id)
    if (first === undefined) return
    this.#firsts.delete(id)
    this.emit({ ...first, queue })
  }

  forget(id: string): void {
    this.#firsts.delete(id)
  }

  emit(event: JobEvent): void {
    if (this.#firsts.size > 0) this.stored(event.id, event.queue)
    this.emitHere(event)
    this.emitElsewhere(event)
  }

  emitHere(event: JobEvent): void {
    if (this.#hub.wants(event.name)) this.#hub.emit(event)
  }

  emitElsewhere(event: JobEvent): void {
    if (!this.#wanted) return
    this.#pending.push(event)
    if (this.#pending.length > MAX_PENDING) this.#pending.splice(0, this.#pending.length - MAX_PENDING)
    this.#sending ??= outside(() =>
      this.#send().finally(() => {
        this.#sending = undefined
      }),
    )
  }

  /** A message from another process. */
  receive(payload: string): void {
    let message: unknown
    try {
      message = JSON.parse(payload)
    } catch {
      return
    }
    if (!Array.isArray(message) || message[0] === this.#database.self) return
    for (const event of message.slice(1)) if (isEvent(event)) this.#hub.emit({ ...event, at: new Date(event.at) })
  }

  subscribe(name: JobEventName | "*", listener: (event: JobEvent) => void): Subscription {
    const off = this.#hub.on(name, listener)
    this.#subscriptions++
    this.#live ??= outside(() => this.#goLive())
    const ready = this.#live
    // A failure is the business of those who await `ready`; events of this process come all the same.
    ready.catch(() => undefined)
    let ended = false
    const end = (): void => {
      if (ended) return
      ended = true
      off()
      if (--this.#subscriptions === 0) void this.#goSilent()
    }
    return Object.assign(end, { ready })
  }

  /** Sends what is pending and gives up the subscription. */
  async close(): Promise<void> {
    await this.#sending
    await this.#goSilent()
  }

  async #goLive(): Promise<void> {
    try {
      // Asked first: a database that is not there is told of once, by whoever needs it.
      await this.#database.ready()
      await this.#listen()
      await this.#mark()
      this.#refresh = setInterval(
        () => void this.#mark().catch((error: unknown) => this.#logger.debug("a subscription could not be refreshed", { error })),
        REFRESH_MS,
      )
      this.#refresh.unref()
    } catch (error) {
      this.#live = undefined
      const again = setTimeout(() => {
        if (this.#subscriptions > 0) this.#live ??= this.#goLive()
        this.#live?.catch(() => undefined)
      }, RETRY_MS)
      again.unref()
      throw error
    }
  }

  async #mark(): Promise<void> {
    const { runner, notifier } = await this.#database.ready()
    await runner.run({
      text: render(
        "insert into {schema}.subscribers (id, expires_at) values ($1, now() + $2::double precision * interval '1 millisecond') on conflict (id) do update set expires_at = excluded.expires_at",
        this.#database.names,
      ),
      values: [this.#id, FRESH_MS],
    })
    notifier.subscribed()
  }

  async #goSilent(): Promise<void> {
    const live = this.#live
    if (live === undefined) return
    this.#live = undefined
    clearInterval(this.#refresh)
    try {
      await live
      const { runner } = await this.#database.connect()
      await runner.run({ text: render("delete from {schema}.subscribers where id = $1", this.#database.names), values: [this.#id] }, 5_000)
    } catch (error) {
      this.#logger.debug("a subscription could not be ended; it runs out by itself", { error })
    }
  }

  async #send(): Promise<void> {
    // A turn later, so that the events of one batch leave together.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#pending.length > 0) {
      const messages = this.#pack(this.#pending.splice(0))
      try {
        const { runner, statements } = await this.#database.connect()
        await runner.run({ ...statements.notify, values: [this.#database.names.eventsChannel, messages] })
      } catch (error) {
        this.#logger.debug("events could not be sent to other processes", { error })
      }
    }
  }

  /** Messages of many events each, under the limit. */
  #pack(events: readonly JobEvent[]): string[] {
    const messages: string[] = []
    const head = `[${JSON.stringify(this.#database.self)}`
    let text = head
    let bytes = head.length
    for (const event of events) {
      const part = `,${JSON.stringify(slim(event))}`
      const size = Buffer.byteLength(part)
      if (bytes + size + 1 > MAX_MESSAGE_BYTES && text !== head) {
        messages.push(`${text}]`)
        text = head
        bytes = head.length
      }
      text += part
      bytes += size
    }
    if (text !== head) messages.push(`${text}]`)
    return messages
  }
}

/** An event that fits a notification: a large `data` and a long stack stay behind (the snapshot has them). */
function slim(event: JobEvent): JobEvent {
  if (Buffer.byteLength(JSON.stringify(event)) <= MAX_DATA_BYTES) return event
  const { data: _data, error, ...rest } = event
  return { ...rest, ...(error === undefined ? {} : { error: { name: error.name.slice(0, 200), message: error.message.slice(0, 1_000) } }) }
}

function isEvent(value: unknown): value is JobEvent {
  return (
    typeof value === "object" && value !== null && "name" in value && typeof value.name === "string" && "id" in value && typeof value.id === "string"
  )
}
