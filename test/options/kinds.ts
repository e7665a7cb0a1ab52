/** Kinds of values that options take, and the values that each of them is tried with. */
import { describeValue } from "../../src/lib/invalid-option.js"

export interface Kind {
  /** Whether a value of `VALUES` or `more` is right. All others must be refused. */
  readonly ok: (value: unknown) => boolean
  /** One that is right. */
  readonly sample: unknown
  /** Values of its own to try. */
  readonly more?: readonly unknown[]
  /** Values that pass here and may be refused later, since it needs more to know them wrong. */
  readonly later?: (value: unknown) => boolean
  /** Whether it must be given. */
  readonly required?: boolean
  /** The error must not show the value: it may be a secret. */
  readonly secret?: boolean
}

class Thing {
  readonly a = 1
}
const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}
const shy = new Proxy(
  {},
  {
    get: () => {
      throw new Error("do not look")
    },
    has: () => {
      throw new Error("do not ask")
    },
    getPrototypeOf: () => {
      throw new Error("do not touch")
    },
  },
)

const PLAIN = [{}, Object.create(null)]
const NAMED = [{ a: 1 }, new Thing()]

/** Tried everywhere, so that what is right in one place is wrong in another. */
export const VALUES: readonly unknown[] = [
  ...[null, true, false, Number.NaN, -1, 0, 1, 1.5, 2 ** 31, 2 ** 53, 1e300, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5n],
  ...["", " ", "\t\n", "x", "1h", "5", "a\u0000b", "\ud800", "x".repeat(5_000), "constructor", "__proto__"],
  ...[Symbol("wrong"), function wrong() {}, ...PLAIN, ...NAMED, [], [null], [[]], ["x"]],
  ...[new Date("2030-01-01T00:00:00Z"), new Date(Number.NaN), new Date(8.64e15), new Map([["a", 1]]), new Set(["a"]), Promise.resolve("x")],
  ...[new Error("wrong"), /x/, new Uint8Array(3), revoked(), shy],
]

const isText = (v: unknown): v is string => typeof v === "string"
const isStorable = (v: string): boolean => !v.includes("\u0000") && !/\p{Surrogate}/u.test(v)

/** Whether the value is right; a proxy that does not let itself be asked never is. */
export function isRight(kind: Kind, value: unknown): boolean {
  try {
    return kind.ok(value)
  } catch {
    return false
  }
}

/** A value in a word, whatever it is. */
export function describe(value: unknown): string {
  return describeValue(value)
}

const DURATIONS = ["1 hour", "60", "-5s", "1y", "5 minutes", "1e999s", "Infinity", "NaN", "0x10s", "1h30m", " 5s", "5s ", "5 s", "1,5s"]
const durationOk = (v: unknown): boolean => (typeof v === "number" && v >= 0 && v <= 3_155_760_000) || v === "1h"
const dateOk = (v: unknown): boolean => describe(v).startsWith("2030-01-01")

/** A name or key: text with a character that can be seen. */
export const text = (max = 255): Kind => ({ ok: (v) => isText(v) && v.trim() !== "" && v.length <= max && isStorable(v), sample: "x" })
/** A key that is made of data: it may be blank. */
export const key: Kind = {
  ok: (v) => isText(v) && v !== "" && Buffer.byteLength(v) <= 1_000 && isStorable(v),
  sample: "x",
  more: ["é".repeat(600)],
}
/** Any text that Postgres can hold. */
export const anyText: Kind = { ok: (v) => isText(v) && isStorable(v), sample: "x" }
/** What is looked up: text that nothing can have finds nothing. */
export const lookup: Kind = { ok: isText, sample: "x", later: isText }
export const customId: Kind = {
  ok: (v) => text().ok(v) && !/^\d+$/.test(v as string) && !(v as string).includes(":"),
  sample: "x",
  more: ["a:b", "0042"],
}
export const integer = (min: number, max: number): Kind => ({
  ok: (v) => typeof v === "number" && Number.isInteger(v) && v >= min && v <= max,
  sample: min + 1,
  more: [min - 1, max + 1],
})
/** A positive number. */
export const rate: Kind = { ok: (v) => typeof v === "number" && Number.isFinite(v) && v > 0, sample: 5 }
export const fraction: Kind = { ok: (v) => v === 0 || v === 1, sample: 0.5, more: [1.01, -0.01] }
export const base: Kind = { ok: (v) => typeof v === "number" && Number.isFinite(v) && v >= 0, sample: 2 }
export const limit: Kind = { ok: (v) => integer(0, 1_000_000).ok(v) || v === Number.POSITIVE_INFINITY, sample: 3, more: [1_000_001] }
export const boolean: Kind = { ok: (v) => typeof v === "boolean", sample: true }
export const fn: Kind = { ok: (v) => typeof v === "function", sample: () => "x" }
/** A function whose answer is looked at when it is called. */
export const callback: Kind = { ...fn, later: fn.ok }
/** Any list: its elements are any value. */
export const anyList: Kind = { ok: Array.isArray, sample: [1] }
/** The id of a job: whether it can be one is asked when the child is stored. */
export const jobId = (id: string): Kind => ({ ok: isText, sample: id, later: isText })
export const duration: Kind = { ok: durationOk, sample: "1h", more: DURATIONS }
export const positive: Kind = { ok: (v) => durationOk(v) && v !== 0, sample: "1h", more: DURATIONS }
export const atLeast = (seconds: number): Kind => ({ ...positive, ok: (v) => durationOk(v) && (v === "1h" || (v as number) >= seconds) })
export const due: Kind = { ...duration, ok: (v) => durationOk(v) || dateOk(v) }
export const kept: Kind = { ...duration, ok: (v) => durationOk(v) || v === false }
export const date: Kind = { ok: dateOk, sample: new Date("2030-01-01T00:00:00Z"), more: ["2030-01-01", 1_900_000_000_000] }
export const signal: Kind = {
  ok: (v) => v instanceof AbortSignal,
  sample: new AbortController().signal,
  more: [{ aborted: false }, new AbortController()],
}
export const oneOf = (...values: readonly string[]): Kind => ({
  ok: (v) => values.includes(v as string),
  sample: values[0],
  more: [...values, values[0]!.slice(0, -1), values[0]!.toUpperCase()],
})
/** An object of options, all of which may be left out. */
export const options: Kind = { ok: (v) => PLAIN.includes(v), sample: {} }
/** One that needs some of its options. */
export const filled = (sample: object): Kind => ({ ok: () => false, sample })
/** An object with any names. */
export const byName = (sample: object, ...values: readonly Kind[]): Kind => ({
  ok: (v) => PLAIN.includes(v as object) || (NAMED.includes(v as { a: number }) && values.some((kind) => isRight(kind, 1))),
  sample,
})
export const list = (sample: readonly unknown[] = []): Kind => ({ ok: (v) => Array.isArray(v) && v.length === 0, sample })
/** A list of names, and not an empty one. */
export const texts: Kind = { ok: (v) => Array.isArray(v) && v.length > 0 && v.every((one) => text().ok(one)), sample: ["x"] }
/** One of several. */
export const either = (sample: unknown, ...kinds: readonly Kind[]): Kind => ({
  ok: (v) => kinds.some((kind) => isRight(kind, v)),
  sample,
  more: kinds.flatMap((kind) => kind.more ?? []),
  later: (v) => kinds.some((kind) => kind.later?.(v) === true),
})
export const orNull = (kind: Kind): Kind => ({ ...kind, ok: (v) => v === null || kind.ok(v) })
export const required = (kind: Kind): Kind => ({ ...kind, required: true })
export const only = (kind: Kind, ok: (value: unknown) => boolean): Kind => ({ ...kind, ok: (v) => kind.ok(v) && ok(v) })
/** Nothing of what is tried. */
export const special = (sample: unknown, more: readonly unknown[] = []): Kind => ({ ok: () => false, sample, more })
