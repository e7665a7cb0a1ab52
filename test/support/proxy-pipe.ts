/** One direction of one proxied connection: bytes in order, later if told so, never more than a few megabytes held back. */
import type { Socket } from "node:net"

/** Held back at most; then the sender is not read any more, as with a full network. */
const MAX_HELD_BYTES = 4 * 1024 * 1024

export interface PipeSettings {
  /** Nothing moves, and nobody hears of a close. */
  readonly paused: () => boolean
  /** Milliseconds from reading a piece to writing it. */
  readonly delay: () => number
  /** Looks at each piece and gives what to write. */
  readonly filter: (chunk: Buffer) => Buffer
}

export class Pipe {
  readonly #source: Socket
  readonly #sink: Socket
  readonly #settings: PipeSettings
  #queue: { due: number; chunk: Buffer | "end" }[] = []
  #held = 0
  #full = false
  #timer: NodeJS.Timeout | undefined

  constructor(source: Socket, sink: Socket, settings: PipeSettings) {
    this.#source = source
    this.#sink = sink
    this.#settings = settings
    source.on("data", (chunk) => {
      this.#held += chunk.length
      this.#push(chunk)
    })
    source.on("end", () => this.#push("end"))
    sink.on("drain", () => {
      this.#full = false
      this.update()
    })
    this.update()
  }

  /** After a change of the settings. */
  update(): void {
    clearTimeout(this.#timer)
    if (this.#settings.paused() || this.#held > MAX_HELD_BYTES) this.#source.pause()
    else this.#source.resume()
    while (!this.#settings.paused() && !this.#full && !this.#sink.destroyed) {
      const next = this.#queue[0]
      if (next === undefined) return
      const wait = next.due - performance.now()
      if (wait > 0) {
        this.#timer = setTimeout(() => this.update(), wait)
        return
      }
      this.#queue.shift()
      if (next.chunk === "end") this.#sink.end()
      else this.#write(next.chunk)
    }
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#queue = []
  }

  #push(chunk: Buffer | "end"): void {
    this.#queue.push({ due: performance.now() + this.#settings.delay(), chunk })
    this.update()
  }

  #write(chunk: Buffer): void {
    const wasOver = this.#held > MAX_HELD_BYTES
    this.#held -= chunk.length
    if (wasOver && this.#held <= MAX_HELD_BYTES && !this.#settings.paused()) this.#source.resume()
    const out = this.#settings.filter(chunk)
    if (out.length > 0 && !this.#sink.destroyed) this.#full = !this.#sink.write(out)
  }
}
