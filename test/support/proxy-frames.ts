/** What a proxy must know of the Postgres protocol (version 3): where messages begin, and whether a session is in a query. */

/** More than any message of a test; a larger "length" means that this is not the protocol. */
const MAX_FRAME = 64 * 1024 * 1024

const NOTIFICATION = "A".charCodeAt(0)
const READY = "Z".charCodeAt(0)

/** Which notifications (message `A`) a client gets; "in query" is what a pooler in transaction mode lets through. */
export type NotificationMode = "all" | "none" | "in query"

/** One session: finds the messages in the server's bytes and leaves out the notifications that the mode does not let through. */
export class SessionFrames {
  /** The beginning of a message whose type and length are not complete yet. */
  #header: Buffer = Buffer.alloc(0)
  /** Bytes that the current message still has, and whether they pass. */
  #left = 0
  #passing = true
  #busy = true
  #raw = false
  #startup = true
  #lost = 0

  /** Notifications that did not pass. */
  get lost(): number {
    return this.#lost
  }

  /** Bytes from the client: only their first decides (encrypted sessions are not looked into), the rest means that it has a query. */
  fromClient(chunk: Buffer): void {
    if (this.#startup && chunk.length >= 8) {
      // SSLRequest and GSSENCRequest get an answer of one byte without a length.
      const code = chunk.readInt32BE(4)
      this.#raw = code === 80877103 || code === 80877104
      this.#startup = false
    }
    this.#busy = true
  }

  fromServer(chunk: Buffer, mode: NotificationMode): Buffer {
    if (this.#raw) return chunk
    const passed: Buffer[] = []
    let rest = chunk
    while (rest.length > 0) {
      if (this.#left === 0) {
        const missing = 5 - this.#header.length
        this.#header = Buffer.concat([this.#header, rest.subarray(0, missing)])
        rest = rest.subarray(missing)
        if (this.#header.length < 5) break
        this.#begin(this.#header, mode)
        if (this.#passing) passed.push(this.#header)
        this.#header = Buffer.alloc(0)
      }
      if (this.#passing && this.#left > 0) passed.push(rest.subarray(0, this.#left))
      const taken = Math.min(this.#left, rest.length)
      this.#left -= taken
      rest = rest.subarray(taken)
    }
    return Buffer.concat(passed)
  }

  #begin(header: Buffer, mode: NotificationMode): void {
    const length = header.readInt32BE(1)
    if (length < 4 || length > MAX_FRAME) throw new Error(`The proxy met a message of ${length} bytes: this is not the Postgres protocol`)
    const type = header[0]
    this.#left = length - 4
    this.#passing = type !== NOTIFICATION || mode === "all" || (mode === "in query" && this.#busy)
    if (!this.#passing) this.#lost++
    if (type === READY) this.#busy = false
  }
}
