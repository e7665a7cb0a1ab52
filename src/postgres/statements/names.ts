import { createHash } from "node:crypto"
import { InvalidOptionError } from "../../api/errors.js"
import { describeValue } from "../../lib/invalid-option.js"
import { textFault } from "../../lib/text.js"

/** A schema's name in the forms that SQL text needs. */
export interface SchemaNames {
  readonly schema: string
  /** Quoted, to stand before a dot. */
  readonly quoted: string
  /** The channel of its notifications. Schemas in one database must not hear each other. */
  readonly channel: string
  /** The channel of events of jobs. */
  readonly eventsChannel: string
}

export function schemaNames(schema: string): SchemaNames {
  if (
    typeof schema !== "string" ||
    schema.trim() === "" ||
    Buffer.byteLength(schema) > 63 ||
    textFault(schema) !== undefined ||
    schema.includes("$")
  ) {
    throw new InvalidOptionError(`schema is ${describeValue(schema)}; write a name of 1 to 63 bytes without "$", such as "tusk"`)
  }
  return {
    schema,
    quoted: `"${schema.replaceAll('"', '""')}"`,
    channel: channelOf("pgtusk", schema),
    eventsChannel: channelOf("pgtusk.events", schema),
  }
}

/** Postgres cuts names at 63 bytes. */
function channelOf(prefix: string, schema: string): string {
  const channel = `${prefix}:${schema}`
  return Buffer.byteLength(channel) <= 63 ? channel : `${prefix}:${createHash("sha256").update(schema).digest("hex").slice(0, 32)}`
}

/** Puts the schema and the channel into a text of sql/. Inside of a string literal quotes are doubled. */
export function render(text: string, names: SchemaNames): string {
  // In one pass: a name may itself hold "{schema}".
  return text.replace(/('?)\{(schema|channel)\}/g, (_, quote: string, what: string) => {
    const value = what === "schema" ? names.quoted : names.channel
    if (quote === "") return value
    // The text of a literal with a backslash depends on standard_conforming_strings, unless it begins with an E.
    const text = value.replaceAll("'", "''")
    return text.includes("\\") ? `E'${text.replaceAll("\\", "\\\\")}` : `'${text}`
  })
}
