import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import type { Client, ClientConfig } from "pg"
import { bounded } from "./bounded.js"
import { createSubscriber, type Subscriber } from "./pg-listen.js"

/** How pg_stat_activity shows these connections, where the application has no name for its own. */
const APPLICATION_NAME = "pgtusk listen"

/** Idle time after which the system asks whether the other side is still there. */
const KEEP_ALIVE_MS = 10_000
/** Patience for a normal goodbye; then the socket is destroyed. */
const CLOSE_MS = 1_000

interface ListenConnectionOptions {
  config: ClientConfig
  /** The class of its client. */
  Client: typeof Client
  /** Not called any more once the connection has failed or was closed. Must not throw. */
  onNotification(channel: string, payload: string): void
  /** Ends the connection with its reason. */
  signal: AbortSignal
}

/**
 * One connection that listens, for one use: the first fault ends it for good, and whoever wants to go on makes another.
 *
 * States: made → open → ended. `signal` aborts at the end and its reason says why; every method that waits rejects with that reason then, or with
 * the server's own error. `close()` wins over anything in flight: it owns the socket and destroys it, so that no session stays behind.
 */
export class ListenConnection {
  readonly #aborter = new AbortController()
  readonly #subscriber: Subscriber
  readonly #socket: Duplex
  readonly #parent: AbortSignal
  #open = false
  #ended: Promise<void> | undefined

  constructor(options: ListenConnectionOptions) {
    const { config, signal } = options
    this.#socket = socketOf(config)
    // Whether the process lives on is not for this connection to decide.
    if (this.#socket instanceof Socket) this.#socket.unref()
    // Before anyone else hears of it: pg-listen drops the cause of a lost connection.
    this.#socket.once("error", (error) => this.fail(error))
    this.#subscriber = createSubscriber(
      options.Client,
      {
        fallback_application_name: APPLICATION_NAME,
        ...config,
        keepAlive: true,
        keepAliveInitialDelayMillis: config.keepAliveInitialDelayMillis ?? KEEP_ALIVE_MS,
        stream: () => this.#socket,
      },
      {
        onNotification: (channel, payload) => {
          if (!this.signal.aborted) options.onNotification(channel, payload)
        },
        onEnd: (cause) => this.fail(new Error("Connection terminated unexpectedly", { cause })),
      },
    )
    this.#parent = signal
    signal.addEventListener("abort", this.#onParentAbort, { once: true })
    if (signal.aborted) this.#onParentAbort()
  }

  /** Aborts when the connection has ended. */
  get signal(): AbortSignal {
    return this.#aborter.signal
  }

  async open(timeoutMs: number): Promise<void> {
    await this.#bounded(() => this.#subscriber.connect(), timeoutMs, "the connection attempt")
    this.#open = true
  }

  async listen(channel: string, timeoutMs: number): Promise<void> {
    await this.#bounded(() => this.#subscriber.listenTo(channel), timeoutMs, "LISTEN")
  }

  async unlisten(channel: string, timeoutMs: number): Promise<void> {
    await this.#bounded(() => this.#subscriber.unlisten(channel), timeoutMs, "UNLISTEN")
  }

  async notify(channel: string, payload: string, timeoutMs: number): Promise<void> {
    await this.#bounded(() => this.#subscriber.notify(channel, payload), timeoutMs, "NOTIFY")
  }

  /** Ends the connection at once, without a goodbye. */
  fail(reason: Error): void {
    void this.#end(reason, false)
  }

  /** Ends the connection; says goodbye to a server that listens. Resolves when the socket is gone. */
  close(): Promise<void> {
    return this.#end(new Error("The connection was closed"), true)
  }

  readonly #onParentAbort = (): void => {
    void this.#end(asError(this.#parent.reason), true)
  }

  /** The first end counts, and its reason stays. Never rejects. */
  #end(reason: Error, politely: boolean): Promise<void> {
    if (this.#ended === undefined) {
      this.#parent.removeEventListener("abort", this.#onParentAbort)
      // A connection that is not open yet has nobody to say goodbye to.
      this.#ended = this.#release(politely && this.#open)
      this.#aborter.abort(reason)
    }
    return this.#ended
  }

  async #release(politely: boolean): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#socket.once("close", resolve))
    // Also keeps pg-listen from reconnecting.
    const goodbye = this.#subscriber.close()
    if (politely) await bounded(goodbye, { ms: CLOSE_MS, late: () => undefined })
    if (this.#socket.closed) return
    this.#socket.destroy()
    await bounded(gone, { ms: CLOSE_MS, late: () => undefined })
  }

  async #bounded(work: () => Promise<void>, ms: number, what: string): Promise<void> {
    if (this.signal.aborted) throw this.signal.reason
    const late = (): never => {
      throw new Error(`Postgres did not answer within ${ms} ms (${what})`)
    }
    try {
      await bounded(work(), { ms, signal: this.signal, late })
    } catch (error) {
      this.fail(asError(error))
      throw error
    }
  }
}

/** The application's own socket (a tunnel, a connector of a cloud) or ours. */
function socketOf(config: ClientConfig): Duplex {
  // As pg does; its types know of no argument.
  return (config.stream as ((config: ClientConfig) => Duplex) | undefined)?.(config) ?? new Socket()
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}
