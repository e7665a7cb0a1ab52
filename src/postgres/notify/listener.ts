import { ConnectionError, InvalidOptionError } from "../../api/errors.js"
import type { Logger } from "../../api/logger.js"
import { RetryPause } from "../../lib/retry-pause.js"
import { Service } from "../../lib/service.js"
import { Sleeper } from "../../lib/sleeper.js"
import { holdProcess, performance } from "../../lib/timers.js"
import type { Connector, Host } from "../run/connector.js"
import { connectionError } from "../run/failure.js"
import { sqlStateOf } from "../run/sqlstate.js"
import { ListenConnection } from "./listener-connection.js"
import { OutageLog } from "./outage.js"
import { DeafConnectionError, Probe, SHARED_PROBE_CHANNEL } from "./probe.js"

/** The longest delay of a Node timer, in milliseconds. */
const MAX_TIMER_MS = 2_147_483_647
/** SQLSTATE "feature not supported": an engine without LISTEN. */
const NO_LISTEN = "0A000"
/** Postgres cuts longer names, so that a notification would come under another one. */
const MAX_CHANNEL_BYTES = 63

export interface ListenerOptions {
  /** Where to connect; it takes a connection of its own, outside any pool. */
  connector: Connector
  channels: readonly string[]
  /** Each notification on the channels, in order, as it was sent. It may be called twice for one, or never. What it throws is logged. */
  onNotification(channel: string, payload: string): void
  /** It listens, for the first time or again: what was sent before may have been missed, so look at the tables now. What it throws is logged. */
  onLive(): void
  /** It does not listen (any more). Once an outage; not on `close()`. What it throws is logged. */
  onDown(reason: Error): void
  logger: Logger
  /** Milliseconds without a notification after which a connection is probed, a tenth more or less. Default 15,000. */
  probeIntervalMs?: number
  /** Milliseconds that a probe may take. Default 5,000. */
  probeTimeoutMs?: number
  /** Milliseconds for connecting, and for each LISTEN. Default: those that a connection gets. */
  connectTimeoutMs?: number
  /** Limits in milliseconds of the pause between two attempts. Default 100 and 10,000. */
  backoffMs?: { min: number; max: number }
  /** Milliseconds between attempts where notifications cannot work (a pooler in transaction mode, an engine without LISTEN). Default 60,000. */
  deafRetryMs?: number
}

/**
 * Keeps one connection that listens on channels, for as long as it lives, whatever happens to the network or the server.
 *
 * States: down ⇄ live, until closed. An attempt: connect, LISTEN on a private channel, prove that a notification arrives, LISTEN on each channel;
 * then it is live, and sends itself a probe whenever it has received nothing for `probeIntervalMs`. The probes' channel is shared by all listeners of the
 * database: the first one to send spares the others theirs. (Each probe wakes all of them: if each sent its own, N listeners would cost N² wake-ups.)
 * Invariants:
 * - one connection (a second one for the moment of the proof), thrown away at its first fault;
 * - a fault is noticed within 1.1 `probeIntervalMs` + `probeTimeoutMs`, also where the network swallows everything;
 * - each return to live is followed by `onLive()`, since notifications of the meantime are lost;
 * - attempts go on for ever, with growing, jittered pauses; `wake()` ends a pause;
 * - `close()` wins over whatever is in flight and leaves no session on the server.
 *
 * Except while `start()` or `close()` is pending it does not keep the process alive.
 *
 * ```ts
 * const listener = new Listener({ connector, channels: ["news"], onNotification, onLive: sweep, onDown, logger })
 * await listener.start()
 * …
 * await listener.close()
 * ```
 */
export class Listener extends Service {
  readonly #options: ListenerOptions
  readonly #channels: ReadonlySet<string>
  readonly #probeIntervalMs: number
  readonly #connectTimeoutMs: number
  readonly #backoffMs: { min: number; max: number }
  readonly #deafRetryMs: number
  readonly #probe: Probe
  readonly #pause: RetryPause
  readonly #log: OutageLog
  readonly #firstOutcome: Promise<void>
  #markOutcome: () => void = () => undefined
  #liveSince: number | undefined
  /** When something arrived last. */
  #heardAt = 0

  /** @throws InvalidOptionError for a channel without a name or with more than 63 bytes, and for a time that is not above 0 */
  constructor(options: ListenerOptions) {
    super({ name: "listener", logger: options.logger, unref: true })
    this.#options = options
    this.#channels = new Set(options.channels.map(checkChannel))
    this.#probeIntervalMs = checkMs(options.probeIntervalMs ?? 15_000, "probeIntervalMs")
    this.#connectTimeoutMs = checkMs(options.connectTimeoutMs ?? options.connector.connectMs, "connectTimeoutMs")
    this.#deafRetryMs = checkMs(options.deafRetryMs ?? 60_000, "deafRetryMs")
    const { min, max } = options.backoffMs ?? { min: 100, max: 10_000 }
    this.#backoffMs = { min: checkMs(min, "backoffMs.min"), max: checkMs(max, "backoffMs.max") }
    this.#pause = new RetryPause(this.#backoffMs)
    this.#probe = new Probe(checkMs(options.probeTimeoutMs ?? 5_000, "probeTimeoutMs"))
    this.#log = new OutageLog(this.logger)
    this.#firstOutcome = new Promise((resolve) => {
      this.#markOutcome = resolve
    })
  }

  /** Whether notifications arrive now, as far as is known. */
  get live(): boolean {
    return this.#liveSince !== undefined && !this.signal.aborted
  }

  /** Stops listening; resolves when the connection is gone. The same as `stop()`, but it keeps the process alive until then. */
  async close(): Promise<void> {
    await holdingProcess(this.stop())
  }

  /** Resolves when it is live, or when the first attempt has failed; it then goes on in the background. */
  protected override async onStart(): Promise<void> {
    this.spawn(() => this.#run())
    await holdingProcess(this.#firstOutcome)
  }

  async #run(): Promise<void> {
    try {
      while (!this.signal.aborted) {
        const reason = await this.#listenOnce()
        const hopeless = reason instanceof DeafConnectionError || sqlStateOf(reason) === NO_LISTEN
        await this.sleep(hopeless ? this.#deafRetryMs : this.#pause.next())
      }
    } finally {
      this.#markOutcome()
    }
  }

  /** The life of one connection. Returns why it ended. */
  async #listenOnce(): Promise<Error> {
    let connection: ListenConnection | undefined
    let reason: Error
    const host = this.#options.connector.next()
    try {
      connection = this.#newConnection(host, this.signal, (channel, payload) => this.#receive(channel, payload))
      await connection.open(this.#connectTimeoutMs)
      await connection.listen(this.#probe.channel, this.#connectTimeoutMs)
      const { signal } = connection
      await this.#probe.prove(connection, (channel, nonce) => this.#sendFromAnotherSession(host, channel, nonce, signal))
      // One after the other: pg 9 will refuse a query while another is under way.
      for (const channel of [SHARED_PROBE_CHANNEL, ...this.#channels]) await connection.listen(channel, this.#connectTimeoutMs)
      this.#up()
      reason = await this.#watch(connection)
    } catch (error) {
      reason = error instanceof Error ? error : new Error(String(error))
      // One that listened is tried again first.
      if (this.#liveSince === undefined) host.failed()
    }
    this.#down(reason)
    await connection?.close()
    return reason
  }

  #newConnection(
    { config: settings, Client }: Host,
    signal: AbortSignal,
    onNotification: (channel: string, payload: string) => void,
  ): ListenConnection {
    // Our own deadlines come first; pg's is for an attempt that even they cannot end.
    const config = { ...settings, connectionTimeoutMillis: this.#connectTimeoutMs * 2 }
    return new ListenConnection({ config, Client, signal, onNotification })
  }

  /** False when it could not: the server may have no second connection for us, and that is no reason not to listen. */
  async #sendFromAnotherSession(host: Host, channel: string, nonce: string, signal: AbortSignal): Promise<boolean> {
    // It may well hear its own message, by sharing a pooler's server session with the other: that proves nothing.
    const sender = this.#newConnection(host, signal, () => undefined)
    try {
      await sender.open(this.#connectTimeoutMs)
      await sender.notify(channel, nonce, this.#connectTimeoutMs)
      return true
    } catch (error) {
      if (signal.aborted) throw signal.reason
      this.logger.debug("The listener could not probe from a second session", { error })
      return false
    } finally {
      await sender.close()
    }
  }

  /** Returns why the connection ended. */
  async #watch(connection: ListenConnection): Promise<Error> {
    const sleeper = new Sleeper(connection.signal, { unref: true })
    this.#heardAt = performance.now()
    for (;;) {
      const due = this.#heardAt + this.#probeIntervalMs * (0.9 + 0.2 * Math.random())
      if (!(await sleeper.sleep(Math.max(due - performance.now(), 1)))) break
      if (performance.now() - this.#heardAt < this.#probeIntervalMs * 0.9) continue
      try {
        await this.#probe.ask(connection, SHARED_PROBE_CHANNEL)
      } catch (error) {
        // It could hear before; whether it never will again is for the next connection's proof to say.
        if (error instanceof DeafConnectionError) return new Error(error.message)
        throw error
      }
    }
    return connection.signal.reason as Error
  }

  #receive(channel: string, payload: string): void {
    this.#heardAt = performance.now()
    if (channel === this.#probe.channel || channel === SHARED_PROBE_CHANNEL) this.#probe.receive(payload)
    else if (this.#channels.has(channel)) this.#call("onNotification", () => this.#options.onNotification(channel, payload))
  }

  #up(): void {
    this.#liveSince = performance.now()
    this.#log.over(this.#target())
    this.#markOutcome()
    this.#call("onLive", () => this.#options.onLive())
  }

  #down(reason: Error): void {
    // Only a connection that held makes the pauses short again: one that comes up and breaks at once must not be retried in a tight loop.
    if (this.#liveSince !== undefined && performance.now() - this.#liveSince >= this.#backoffMs.max) this.#pause.reset()
    this.#liveSince = undefined
    if (this.signal.aborted) return
    const error = reason instanceof DeafConnectionError ? this.#deafError(reason) : connectionError(reason, this.#target())
    const begins = this.#log.fault(error)
    this.#markOutcome()
    if (begins) this.#call("onDown", () => this.#options.onDown(error))
  }

  #deafError(cause: Error): ConnectionError {
    const message = `queries are answered at ${this.#target()} but notifications do not arrive, as behind a pooler in transaction mode; set listenConnectionString to a direct connection`
    return new ConnectionError(message, { cause })
  }

  /** A fault in what is called must not harm the listener. */
  #call(name: string, work: () => unknown): void {
    const report = (error: unknown): void => this.logger.error(`The listener's ${name} failed`, { error })
    try {
      const result = work()
      if (result instanceof Promise) result.catch(report)
    } catch (error) {
      report(error)
    }
  }

  #target(): string {
    return this.#options.connector.target
  }
}

/** Keeps the process alive until the promise has settled: what the listener itself waits with does not. */
async function holdingProcess(promise: Promise<void>): Promise<void> {
  const release = holdProcess()
  try {
    await promise
  } finally {
    release()
  }
}

function checkChannel(channel: string): string {
  const bytes = Buffer.byteLength(channel)
  if (bytes > 0 && bytes <= MAX_CHANNEL_BYTES && !channel.includes("\0")) return channel
  throw new InvalidOptionError(`channels contains ${JSON.stringify(channel)}; write names of 1 to ${MAX_CHANNEL_BYTES} bytes`)
}

function checkMs(ms: number, field: string): number {
  if (ms > 0 && ms <= MAX_TIMER_MS) return ms
  throw new InvalidOptionError(`${field} is ${ms}; write milliseconds, above 0 and at most ${MAX_TIMER_MS}`)
}
