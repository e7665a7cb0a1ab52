/** What keeps a string out of Postgres: U+0000, or half of a surrogate pair, which UTF-8 has no bytes for. Undefined: nothing. */
export function textFault(value: string): string | undefined {
  const nul = value.indexOf("\u0000")
  if (nul !== -1) return `holds the character U+0000 (at index ${nul}), which Postgres cannot store`
  const half = value.search(LONE_SURROGATE)
  if (half !== -1) return `holds half of a surrogate pair (at index ${half}), which is not valid text`
  return undefined
}

/** Whether Postgres can hold it, so that there may be something of that name. */
export function isStorable(value: unknown): value is string {
  return typeof value === "string" && textFault(value) === undefined
}

// With the u flag a whole pair is one code point, so this finds the halves only.
const LONE_SURROGATE = /\p{Surrogate}/u
