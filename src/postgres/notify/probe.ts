import { randomBytes } from "node:crypto"
import { bounded } from "./bounded.js"
import type { ListenConnection } from "./listener-connection.js"

/** The connection answers queries, and yet notifications do not arrive on it. */
export class DeafConnectionError extends Error {}

/**
 * Where listeners send themselves a message to see whether it arrives. One channel for all of a database: each notification wakes every session that
 * listens to anything, so what one listener sends proves to all others too that theirs arrive (see Listener).
 */
export const SHARED_PROBE_CHANNEL = "pgtusk_probe"

/** A message that a probe waits for. */
interface Echo {
  readonly nonce: string
  /** Resolves when the nonce has come back. */
  readonly arrival: Promise<boolean>
  arrived: boolean
  arrive(): void
}

/**
 * Finds out whether notifications arrive on a connection, by a nonce for each probe, so that neither strangers nor a late echo of an older probe pass for
 * an answer. One probe at a time, and none is repeated on a connection that did not answer.
 *
 * A message to itself (`ask`) sees a dead route. It does not see a pooler in transaction mode: PgBouncer lets through what arrives within the
 * query that sends it, and drops what arrives while the session is idle. That is what `prove` is for: it has another session send.
 */
export class Probe {
  /** For the proof, which nobody else has to hear. */
  readonly channel: string = `pgtusk_probe_${randomBytes(8).toString("hex")}`
  readonly #timeoutMs: number
  #pending: Echo | undefined

  /** `timeoutMs`: for the answer to NOTIFY, and again for the notification after it (they come together in all but broken cases). */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  /** To be called with each payload of the two channels. */
  receive(payload: string): void {
    if (payload === this.#pending?.nonce) this.#pending.arrive()
  }

  /**
   * Sends a notification to itself.
   * @throws DeafConnectionError when the answer came and the notification did not; else the error that ended the connection
   */
  async ask(connection: ListenConnection, channel: string = this.channel): Promise<void> {
    const echo = this.#begin()
    await connection.notify(channel, echo.nonce, this.#timeoutMs)
    if (!(await this.#comes(echo, connection))) throw new DeafConnectionError(`A notification did not arrive within ${this.#timeoutMs} ms`)
  }

  /**
   * Has `send` notify from another session while this one is idle. `send` returns false when it could not; then the weaker `ask` decides.
   * @throws as `ask`
   */
  async prove(connection: ListenConnection, send: (channel: string, nonce: string) => Promise<boolean>): Promise<void> {
    const echo = this.#begin()
    if (!(await send(this.channel, echo.nonce))) return await this.ask(connection)
    if (await this.#comes(echo, connection)) return
    // Postgres delivers in order: once this one has been answered, the other has arrived or never will.
    await connection.notify(this.channel, "", this.#timeoutMs)
    if (echo.arrived) return
    // A pooler's server session, which others will use, must not go on listening for us.
    await connection.unlisten(this.channel, this.#timeoutMs)
    throw new DeafConnectionError(`A notification from another session did not arrive within ${this.#timeoutMs} ms`)
  }

  #begin(): Echo {
    let resolve = (_: boolean): void => undefined
    const arrival = new Promise<boolean>((r) => {
      resolve = r
    })
    const echo: Echo = {
      nonce: randomBytes(8).toString("hex"),
      arrival,
      arrived: false,
      arrive: () => {
        echo.arrived = true
        resolve(true)
      },
    }
    this.#pending = echo
    return echo
  }

  #comes(echo: Echo, connection: ListenConnection): Promise<boolean> {
    return bounded(echo.arrival, { ms: this.#timeoutMs, signal: connection.signal, late: () => false })
  }
}
