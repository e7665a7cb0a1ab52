/** A TCP proxy in front of a Postgres server, for fault tests: what networks, firewalls, failovers and poolers do to a connection. */
import { once } from "node:events"
import { type AddressInfo, createServer, type Server, Socket } from "node:net"
import { type NotificationMode, SessionFrames } from "./proxy-frames.js"
import { Pipe } from "./proxy-pipe.js"
import { deferred } from "./wait.js"

export type { NotificationMode } from "./proxy-frames.js"

/** More connections than any test needs; a reconnect loop gone wild shows as refused connections instead of a full machine. */
const MAX_CONNECTIONS = 500

export interface ReplyLossOptions {
  /** After the first lost answer the connection is reset, unless this is set: then it stays open and silent. */
  keepOpen?: boolean
}

interface ReplyLoss {
  readonly pattern: Buffer
  readonly cut: boolean
  readonly triggered: () => void
}

interface Link {
  readonly client: Socket
  readonly server: Socket
  readonly frames: SessionFrames
  readonly pipes: readonly Pipe[]
}

/**
 * Listens on a free loopback port. All switches act on the connections of the moment and on later ones.
 *
 *     const proxy = await startProxy(db.url)
 *     const client = new pg.Client({ connectionString: proxy.url })
 *     proxy.pause()
 *     …
 *     await proxy.close()
 */
export class FaultProxy {
  /** The server's URL with the proxy's host and port. */
  readonly url: string
  readonly port: number
  /** Which notifications pass from the server to clients; default "all". */
  notifications: NotificationMode = "all"
  #target: { host: string; port: number }
  readonly #links = new Set<Link>()
  #listener: Server
  #accepted = 0
  #lostBefore = 0
  #paused = false
  #delays = { toServer: 0, toClient: 0 }
  #loss: ReplyLoss | undefined
  #closed = false

  constructor(url: string, listener: Server) {
    const target = new URL(url)
    this.#target = { host: target.hostname, port: Number(target.port || 5432) }
    this.#listener = listener
    this.port = (listener.address() as AddressInfo).port
    target.hostname = "127.0.0.1"
    target.port = String(this.port)
    this.url = target.href
    this.#serve(listener)
  }

  /** Open connections. */
  get connections(): number {
    return this.#links.size
  }

  /** Connections since the start, open or not. */
  get accepted(): number {
    return this.#accepted
  }

  /** Notifications since the start that the mode did not let through. */
  get lostNotifications(): number {
    return this.#lostBefore + [...this.#links].reduce((sum, link) => sum + link.frames.lost, 0)
  }

  /** The server is elsewhere now; connections of the moment stay with the old one. */
  retarget(url: string): void {
    const target = new URL(url)
    this.#target = { host: target.hostname, port: Number(target.port || 5432) }
  }

  /** Black hole: sockets stay open and new ones open too, but nothing passes in either direction, not even a close. */
  pause(): void {
    this.#paused = true
    this.#update()
  }

  /** Ends `pause()`; what was held up passes now. */
  resume(): void {
    this.#paused = false
    this.#update()
  }

  /** New connections are refused (ECONNREFUSED); those of the moment live on. */
  refuse(): void {
    // The callback of close() would wait for the connections; the port is shut at once.
    if (this.#listener.listening) this.#listener.close()
  }

  /** Ends `refuse()`, on the same port. */
  async accept(): Promise<void> {
    if (this.#closed || this.#listener.listening) return
    this.#listener = await listen(this.port)
    this.#serve(this.#listener)
  }

  /** Ends all connections on both sides, with a reset (default) or a normal close; returns how many. New ones are welcome. */
  drop(how: "reset" | "end" = "reset"): number {
    const links = [...this.#links]
    for (const link of links) this.#cut(link, how)
    return links.length
  }

  /** Latency in milliseconds for each direction; what is not named becomes 0. */
  delay(ms: { toServer?: number; toClient?: number }): void {
    this.#delays = { toServer: ms.toServer ?? 0, toClient: ms.toClient ?? 0 }
  }

  /**
   * Once: the next client that sends `pattern` gets no more bytes from the server, which does get the client's ("committed, but the answer
   * is lost"). Resolves when the first answer has been lost. The pattern must lie within one connection's bytes; it may span packets.
   */
  loseReplies(pattern: string, options: ReplyLossOptions = {}): Promise<void> {
    const lost = deferred()
    this.#loss = { pattern: Buffer.from(pattern), cut: options.keepOpen !== true, triggered: lost.resolve }
    return lost.promise
  }

  /** Frees the port and ends all connections; resolves when they are gone. */
  async close(): Promise<void> {
    this.#closed = true
    const gone = new Promise<void>((resolve) => this.#listener.close(() => resolve()))
    this.drop()
    await gone
  }

  #serve(listener: Server): void {
    listener.maxConnections = MAX_CONNECTIONS
    listener.on("connection", (client) => this.#join(client))
  }

  #join(client: Socket): void {
    this.#accepted++
    const server = new Socket({ allowHalfOpen: true })
    const frames = new SessionFrames()
    let tail = Buffer.alloc(0)
    let losing: ReplyLoss | undefined
    let lostOne = false
    for (const socket of [client, server]) socket.setNoDelay(true)

    const toServer = new Pipe(client, server, {
      paused: () => this.#paused,
      delay: () => this.#delays.toServer,
      filter: (chunk) => {
        frames.fromClient(chunk)
        const loss = this.#loss
        if (loss !== undefined && losing === undefined) {
          const seen = Buffer.concat([tail, chunk])
          if (seen.includes(loss.pattern)) {
            losing = loss
            this.#loss = undefined
          }
          tail = seen.subarray(Math.max(0, seen.length - loss.pattern.length + 1))
        }
        return chunk
      },
    })
    const toClient = new Pipe(server, client, {
      paused: () => this.#paused,
      delay: () => this.#delays.toClient,
      filter: (chunk) => {
        const passed = frames.fromServer(chunk, this.notifications)
        if (losing === undefined) return passed
        if (!lostOne) {
          lostOne = true
          losing.triggered()
          if (losing.cut) this.#cut(link, "reset")
        }
        return Buffer.alloc(0)
      },
    })

    const link: Link = { client, server, frames, pipes: [toServer, toClient] }
    this.#links.add(link)
    this.#reach(link)
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      // A failure of either side is the other side's reset; "close" follows in any case.
      socket.on("error", () => undefined)
      socket.on("close", (failed) => this.#closeOther(link, other, failed))
    }
  }

  /** A server behind a black hole does not even see a connection. */
  #reach(link: Link): void {
    if (this.#paused || link.server.connecting || link.server.remoteAddress !== undefined || link.server.destroyed) return
    link.server.connect(this.#target)
  }

  /** Passes a close on, but not through a black hole. */
  #closeOther(link: Link, other: Socket, failed: boolean): void {
    if (this.#paused && !this.#closed) return
    if (failed && !other.destroyed) other.resetAndDestroy()
    if (link.client.destroyed && link.server.destroyed) this.#forget(link)
  }

  #forget(link: Link): void {
    if (!this.#links.delete(link)) return
    this.#lostBefore += link.frames.lost
    for (const pipe of link.pipes) pipe.stop()
  }

  #cut(link: Link, how: "reset" | "end"): void {
    this.#forget(link)
    for (const socket of [link.client, link.server]) {
      if (how === "reset") socket.resetAndDestroy()
      else socket.end(() => socket.destroy())
    }
  }

  #update(): void {
    for (const link of [...this.#links]) {
      this.#reach(link)
      for (const pipe of link.pipes) pipe.update()
      // Closes that the black hole kept to itself.
      if (link.client.destroyed) this.#closeOther(link, link.server, true)
      if (link.server.destroyed) this.#closeOther(link, link.client, true)
    }
  }
}

/** A proxy in front of the server of this URL (without TLS). */
export async function startProxy(url: string): Promise<FaultProxy> {
  return new FaultProxy(url, await listen(0))
}

async function listen(port: number): Promise<Server> {
  // Half-open sockets: one side's end is passed on in its turn, after the bytes before it.
  const server = createServer({ allowHalfOpen: true })
  server.listen(port, "127.0.0.1")
  await once(server, "listening")
  return server
}
