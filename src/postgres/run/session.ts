/**
 * What a session's settings would change about our statements. A role, a database, a server or an application's pool may set anything, and some
 * settings decide what a statement means, or how its answer is written. Where all are as Postgres ships them, which is nearly everywhere, statements
 * go as they are; elsewhere each gets a transaction that sets them for itself.
 *
 * Settings that are somebody's wish, and not a way of writing, stay: time-outs, read-only by default, tablespaces, costs.
 */

/** What the session needs in front of a statement. */
export interface SessionNeeds {
  /** Single statements run at READ COMMITTED, for which the protocols are reasoned. */
  readonly readCommitted: boolean
  /** What to set, for the transaction alone; empty: nothing. */
  readonly settings: readonly { readonly name: string; readonly value: string }[]
}

interface Pin {
  readonly name: string
  readonly value: string
  readonly fits: (setting: string) => boolean
}

const PINS: readonly Pin[] = [
  // Unless it is named, pg_catalog comes first. Behind another schema, that one's functions, operators and types take the place of Postgres's.
  { name: "search_path", value: "pg_catalog, pg_temp", fits: (path) => !namesOf(path).slice(1).includes("pg_catalog") },
  { name: "DateStyle", value: "ISO", fits: (style) => style.startsWith("ISO") },
  { name: "IntervalStyle", value: "postgres", fits: (style) => style === "postgres" },
  // Below 1 a double precision is rounded, also on its way into JSON.
  { name: "extra_float_digits", value: "1", fits: (digits) => Number(digits) >= 1 },
  // Off: NULL in an array is the text "NULL".
  { name: "array_nulls", value: "on", fits: (value) => value === "on" },
  { name: "standard_conforming_strings", value: "on", fits: (value) => value === "on" },
  { name: "client_encoding", value: "UTF8", fits: (encoding) => /^utf-?8$/i.test(encoding) },
]

/** Asks for them, in words that no search_path can turn into others. One row of texts. */
export const ASK_SETTINGS: string = `select pg_catalog.current_setting('default_transaction_isolation') as isolation, ${PINS.map(
  ({ name }, i) => `pg_catalog.current_setting('${name}') as setting${i}`,
).join(", ")}`

export function needsOf(row: Readonly<Record<string, string>>): SessionNeeds {
  return {
    readCommitted: row["isolation"] === "read committed",
    settings: PINS.filter(({ fits }, i) => !fits(row[`setting${i}`] ?? "")),
  }
}

/** What the session has where it needs something else; to put it back. */
export function presentOf(row: Readonly<Record<string, string>>): SessionNeeds["settings"] {
  return PINS.flatMap(({ name, fits }, i) => {
    const value = row[`setting${i}`] ?? ""
    return fits(value) ? [] : [{ name, value }]
  })
}

const BEGIN = "begin isolation level read committed"

/** Begins a transaction of ours: one message, without parameters. */
export function beginOurs(needs?: SessionNeeds): string {
  return [BEGIN, ...(needs?.settings ?? []).map(({ name, value }) => `set local ${name} = ${name === "search_path" ? value : `'${value}'`}`)].join(
    "; ",
  )
}

/** The names of a search path, as `show` prints it. */
function namesOf(path: string): string[] {
  return path.split(",").map((name) => name.trim().replace(/^"(.*)"$/, "$1"))
}
