/** The tags of the stored form (the table is in codec.ts), and how each becomes a value again. */

const TAGS: ReadonlySet<string> = new Set(["$date", "$bigint", "$bytes", "$number", "$undefined", "$map", "$set", "$object"])

export function isTag(key: string): boolean {
  return key.charCodeAt(0) === 36 && TAGS.has(key)
}

const NUMBERS: ReadonlyMap<unknown, number> = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["-0", -0],
])

/** The text of a number that JSON has no form for; undefined for all others. */
export function specialNumber(value: number): string | undefined {
  if (Object.is(value, -0)) return "-0"
  return Number.isFinite(value) ? undefined : String(value)
}

/**
 * The value that `{ [tag]: inner }` stands for. A malformed one stays `whole`, the object that it is.
 * @param restore brings back what stands inside of a map or a set
 */
export function restoreTag(tag: string, inner: unknown, whole: object, restore: (value: unknown) => unknown): unknown {
  switch (tag) {
    case "$date":
      return typeof inner === "string" ? restoreDate(inner, whole) : whole
    case "$bigint":
      return typeof inner === "string" && /^-?\d+$/.test(inner) ? BigInt(inner) : whole
    case "$bytes":
      // A copy of its own: a Buffer may be a view on memory that others use.
      return typeof inner === "string" ? new Uint8Array(Buffer.from(inner, "base64")) : whole
    case "$number":
      return NUMBERS.get(inner) ?? whole
    case "$undefined":
      return inner === true ? undefined : whole
    case "$map":
      return Array.isArray(inner) && inner.every(isEntry) ? new Map(inner.map(([key, value]) => [restore(key), restore(value)])) : whole
    case "$set":
      return Array.isArray(inner) ? new Set(inner.map(restore)) : whole
    default:
      return whole
  }
}

function restoreDate(text: string, whole: object): unknown {
  // The constructor also reads "5" and "May"; an instant begins with its year and month.
  const date = new Date(/^([+-]\d{6}|\d{4})-\d\d/.test(text) ? text : Number.NaN)
  return Number.isNaN(date.getTime()) ? whole : date
}

function isEntry(value: unknown): value is [unknown, unknown] {
  return Array.isArray(value) && value.length === 2
}
