import { randomFillSync } from "node:crypto"
import { wallClock } from "./timers.js"

const pool = new Uint8Array(8 * 1024)
let used = pool.length
let lastMs = 0
let counter = 0
/** The beginning of the ids of `lastMs`. */
let stamp = ""
const hex: readonly string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"))

/**
 * A time-ordered uuid (RFC 9562, version 7; `rand_a` is a counter, so ids made in one process sort in the order of their making, as its section
 * 6.2, method 1, describes). The producer makes the ids of its jobs, so that a repeat after a lost answer inserts nothing twice.
 */
export function uuidv7(now: number = wallClock()): string {
  if (now > lastMs) begin(now)
  // More than 4,096 in a millisecond, or a clock that was set back: borrow from the future rather than break the order.
  else if (++counter > 0xfff) begin(lastMs + 1)
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const r = used
  used += 8
  return `${stamp}${(0x7000 | counter).toString(16)}-${hex[0x80 | (pool[r]! & 0x3f)]}${hex[pool[r + 1]!]}-${hex[pool[r + 2]!]}${hex[pool[r + 3]!]}${hex[pool[r + 4]!]}${hex[pool[r + 5]!]}${hex[pool[r + 6]!]}${hex[pool[r + 7]!]}`
}

function begin(ms: number): void {
  lastMs = ms
  counter = 0
  const text = ms.toString(16).padStart(12, "0")
  stamp = `${text.slice(0, 8)}-${text.slice(8)}-`
}

/** Whether a text is a uuid at all; ids are compared in lower case. */
export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text)
}
