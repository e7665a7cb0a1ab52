/**
 * A pooler in transaction mode: clients share server sessions, one transaction at a time, as with PgBouncer's `pool_mode = transaction`. Session
 * state (LISTEN, SET, temporary tables, prepared names) stays with whichever session ran it, and what a session sends while it serves nobody is lost.
 */
import { once } from "node:events"
import { type AddressInfo, createServer, type Server, type Socket } from "node:net"
import pg from "pg"

const PROTOCOL_3 = 196_608
const SSL_REQUEST = 80_877_103

interface Frame {
  readonly type: string
  readonly bytes: Buffer
}

/** Cuts a stream of bytes into messages. */
class FrameReader {
  #rest: Buffer = Buffer.alloc(0)

  read(chunk: Buffer): Frame[] {
    this.#rest = Buffer.concat([this.#rest, chunk])
    const frames: Frame[] = []
    while (this.#rest.length >= 5) {
      const size = 1 + this.#rest.readInt32BE(1)
      if (this.#rest.length < size) break
      frames.push({ type: String.fromCharCode(this.#rest[0]!), bytes: this.#rest.subarray(0, size) })
      this.#rest = this.#rest.subarray(size)
    }
    return frames
  }
}

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(4 + body.length, 1)
  return Buffer.concat([head, body])
}

/** One session on the server. */
class Backend {
  readonly client: pg.Client
  readonly #stream: Socket
  readonly #reader = new FrameReader()
  readonly #onFree: (backend: Backend) => void
  readonly #onLost: (type: string) => void
  #user: PooledClient | undefined
  #owed = 0

  constructor(client: pg.Client, onFree: (backend: Backend) => void, onLost: (type: string) => void) {
    this.client = client
    this.#onFree = onFree
    this.#onLost = onLost
    // pg has logged in; from here on the bytes are ours.
    this.#stream = (client as unknown as { connection: { stream: Socket } }).connection.stream
    this.#stream.removeAllListeners("data")
    this.#stream.on("data", (chunk: Buffer) => {
      for (const frame of this.#reader.read(chunk)) this.#receive(frame)
    })
  }

  serve(user: PooledClient): void {
    this.#user = user
    user.backend = this
    for (const frame of user.pending.splice(0)) this.send(frame)
  }

  send(frame: Frame): void {
    if (frame.type === "Q" || frame.type === "S") this.#owed++
    this.#stream.write(frame.bytes)
  }

  #receive(frame: Frame): void {
    if (this.#user === undefined) {
      this.#onLost(frame.type)
      return
    }
    this.#user.socket.write(frame.bytes)
    if (frame.type !== "Z" || --this.#owed > 0) return
    if (String.fromCharCode(frame.bytes[5]!) === "I") {
      this.#user.backend = undefined
      this.#user = undefined
      this.#onFree(this)
    } else if (this.#user.socket.destroyed) this.send({ type: "Q", bytes: message("Q", Buffer.from("rollback\0")) })
  }
}

interface PooledClient {
  readonly socket: Socket
  readonly pending: Frame[]
  backend: Backend | undefined
}

export class TransactionPooler {
  /** The server's URL with the pooler's host and port. */
  readonly url: string
  readonly #server: Server
  readonly #backends: Backend[] = []
  readonly #free: Backend[] = []
  readonly #waiting: PooledClient[] = []
  readonly #sockets = new Set<Socket>()
  #lost = 0

  constructor(url: string, server: Server, sessions: readonly pg.Client[]) {
    const target = new URL(url)
    target.hostname = "127.0.0.1"
    target.port = String((server.address() as AddressInfo).port)
    this.url = target.href
    this.#server = server
    server.on("connection", (socket) => this.#join(socket))
    for (const session of sessions) {
      const backend = new Backend(
        session,
        (free) => this.#release(free),
        (type) => {
          if (type === "A") this.#lost++
        },
      )
      this.#backends.push(backend)
      this.#free.push(backend)
    }
  }

  /** Notifications that reached a session which served nobody. */
  get lostNotifications(): number {
    return this.#lost
  }

  async close(): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(this.#backends.map((backend) => backend.client.end()))
  }

  #join(socket: Socket): void {
    this.#sockets.add(socket)
    const client: PooledClient = { socket, pending: [], backend: undefined }
    const reader = new FrameReader()
    let started = false
    socket.on("error", () => undefined)
    socket.on("close", () => this.#sockets.delete(socket))
    socket.on("data", (chunk) => {
      if (started) for (const frame of reader.read(chunk)) this.#fromClient(client, frame)
      else started = greet(socket, chunk)
    })
  }

  #fromClient(client: PooledClient, frame: Frame): void {
    if (frame.type === "X") client.socket.end()
    else if (client.backend !== undefined) client.backend.send(frame)
    else {
      client.pending.push(frame)
      if (!this.#waiting.includes(client)) this.#waiting.push(client)
      const backend = this.#free.pop()
      if (backend !== undefined) this.#release(backend)
    }
  }

  #release(backend: Backend): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(backend)
    else backend.serve(next)
  }
}

/** Lets everyone in; true once the client has started its session. */
function greet(socket: Socket, chunk: Buffer): boolean {
  const code = chunk.readInt32BE(4)
  if (code === SSL_REQUEST) {
    socket.write("N")
    return false
  }
  if (code !== PROTOCOL_3) throw new Error(`The pooler met protocol ${code}; it knows ${PROTOCOL_3}`)
  const authenticationOk = message("R", Buffer.alloc(4))
  const key = message("K", Buffer.from([0, 0, 0, 1, 0, 0, 0, 2]))
  socket.write(Buffer.concat([authenticationOk, key, message("Z", Buffer.from("I"))]))
  return true
}

/** A pooler with `sessions` sessions on the server of this URL. */
export async function startPooler(url: string, sessions = 1): Promise<TransactionPooler> {
  const clients = await Promise.all(
    Array.from({ length: sessions }, async () => {
      const client = new pg.Client({ connectionString: url, application_name: "pooler" })
      // Dropping the test's database cuts it.
      client.on("error", () => undefined)
      await client.connect()
      return client
    }),
  )
  const server = createServer()
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return new TransactionPooler(url, server, clients)
}
