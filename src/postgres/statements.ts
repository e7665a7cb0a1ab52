import { createHash } from "node:crypto"
import { render, type SchemaNames } from "./names.js"
import { statementTexts } from "./sql.js"

/** A hot statement: named, so that each connection prepares it once. Without a name (poolers in transaction mode) it is planned each time. */
interface Statement {
  readonly name?: string
  readonly text: string
}
export type Statements = Readonly<Record<keyof typeof statementTexts, Statement>>

/** The hot statements of a schema. */
export function statementsFor(names: SchemaNames, prepared: boolean): Statements {
  const entries = Object.entries(statementTexts).map(([name, template]) => {
    const text = render(template, names)
    // The name carries the text's hash: two schemas, or two versions of the package, may share a connection.
    return [name, prepared ? { name: `pgtusk_${name}_${createHash("sha256").update(text).digest("hex").slice(0, 12)}`, text } : { text }]
  })
  return Object.fromEntries(entries) as Statements
}
