/**
 * How our statements send values and read answers: by a fixed table of our own, whatever the application has told its driver.
 *
 * `pg.types.setTypeParser()`, the `types` of a pool, `pg.defaults.parseInt8`, `parseInputDatesAsUTC` and `binary`, and `toPostgres()` methods are
 * the application's, for its own statements. Ours carry `types` with every query, send text only, and ask for text only.
 */
import { arrayOfTexts } from "./array-text.js"
import type { Executor } from "./executor.js"

/** A query as pg takes it. */
export interface QueryConfig {
  readonly name?: string
  readonly text: string
  readonly values?: readonly unknown[]
  readonly rowMode?: "array"
  readonly types?: TypeParsers
}

export interface TypeParsers {
  getTypeParser: (oid: number, format?: string) => (text: string) => unknown
}

const asText = (text: string): string => text
const asInteger = (text: string): number => Number.parseInt(text, 10)
const asBoolean = (text: string): boolean => text === "t"
const asJson = (text: string): unknown => JSON.parse(text)

const INT8 = 20
const JSONB = 3802

/** By OID, which Postgres never changes for its own types. A number of 64 bits stays text, as does whatever is not here: enums, uuid, numeric. */
const PARSERS: ReadonlyMap<number, (text: string) => unknown> = new Map<number, (text: string) => unknown>([
  [16, asBoolean],
  [21, asInteger],
  [23, asInteger],
  [26, asInteger],
  [INT8, asText],
  [700, Number.parseFloat],
  [701, Number.parseFloat],
  [114, asJson],
  [JSONB, asJson],
  [1184, instantOf],
  [1000, arrayParser(asBoolean)],
  [1005, arrayParser(asInteger)],
  [1007, arrayParser(asInteger)],
  [1003, arrayParser(asText)],
  [1009, arrayParser(asText)],
  [1015, arrayParser(asText)],
  [1016, arrayParser(asText)],
  [1021, arrayParser(Number.parseFloat)],
  [1022, arrayParser(Number.parseFloat)],
  [2951, arrayParser(asText)],
])

/** The parsers of our statements. */
export const TYPES: TypeParsers = { getTypeParser: (oid) => PARSERS.get(oid) ?? asText }

/** The same, with JSON left as text: of a claimed row it is read later, or not at all. */
export const TYPES_WITH_JSON_TEXT: TypeParsers = { getTypeParser: (oid) => (oid === JSONB ? asText : (PARSERS.get(oid) ?? asText)) }

/** Sends a statement of ours on a client of pg. Throws what `client.query()` throws. */
export function queryOurs(client: { query(query: any): any }, query: QueryConfig): Promise<any> {
  const { values, types = TYPES } = query
  const ours = values === undefined ? { ...query, types } : { ...query, types, values: values.map(valueText) }
  if (Reflect.get(client, "binary") !== true) return client.query(ours)
  // Of pg.defaults.binary or the pool's own option. The client looks at it when it is given the query, not later.
  Reflect.set(client, "binary", false)
  try {
    return client.query(ours)
  } finally {
    Reflect.set(client, "binary", true)
  }
}

/** The same, for what takes an executor. Without parameters pg uses the simple protocol, which takes several statements at once. */
export function executorOf(client: { query(query: any): any }): Executor {
  return {
    async query<T>(text: string, params: readonly unknown[]) {
      const { rows, rowCount } = await queryOurs(client, params.length === 0 ? { text } : { text, values: params })
      return { rows: rows as T[], rowCount }
    },
  }
}

/** A parameter as text: nothing is left to the driver, nor to what an application adds to the prototypes of the language. */
export function valueText(value: unknown): string | null {
  switch (typeof value) {
    case "string":
      return value
    case "undefined":
      return null
    case "object":
      if (value === null) return null
      if (value instanceof Date) return instantText(value)
      return Array.isArray(value) ? arrayOfTexts(value.map(valueText)) : JSON.stringify(value)
    default:
      return String(value)
  }
}

/** An instant as Postgres reads it under every DateStyle and TimeZone: it knows neither signs nor more than four digits as JavaScript writes them. */
function instantText(date: Date): string {
  const year = date.getUTCFullYear()
  const iso = Date.prototype.toISOString.call(date)
  if (year > 0 && year <= 9_999) return iso
  const rest = iso.slice(iso.indexOf("-", 1))
  return year > 0 ? `${year}${rest}` : `${String(1 - year).padStart(4, "0")}${rest} BC`
}

const INSTANT = /^(\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?( BC)?$/

/** A timestamptz under DateStyle ISO, cut to whole milliseconds. */
function instantOf(text: string): Date | number {
  const parts = INSTANT.exec(text)
  if (parts === null) {
    if (/^-?infinity$/.test(text)) return text.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
    throw new Error(
      `Postgres wrote an instant as ${JSON.stringify(text)}, which is not its ISO form; leave DateStyle of the session as it was when it began`,
    )
  }
  const number = (at: number): number => Number(parts[at] ?? 0)
  const date = new Date(0)
  date.setUTCFullYear(parts[12] === undefined ? number(1) : 1 - number(1), number(2) - 1, number(3))
  date.setUTCHours(number(4), number(5), number(6), Number((parts[7] ?? "").slice(0, 3).padEnd(3, "0")))
  const offset = ((number(9) * 60 + number(10)) * 60 + number(11)) * 1_000
  return new Date(date.getTime() + (parts[8] === "-" ? offset : -offset))
}

function arrayParser<T>(element: (text: string) => T): (text: string) => (T | null)[] {
  return (text) => elementsOf(text).map((e) => (e === null ? null : element(e)))
}

/** The elements of an array of one dimension, as Postgres prints it: `{1,NULL,"a \"b\""}`. */
function elementsOf(text: string): (string | null)[] {
  const elements: (string | null)[] = []
  const pattern = /"((?:[^"\\]|\\.)*)"|([^",{}]+)/gs
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const [, quoted, plain] = match
    if (quoted !== undefined) elements.push(quoted.replace(/\\(.)/gs, "$1"))
    else elements.push(plain === "NULL" ? null : plain!)
  }
  return elements
}
