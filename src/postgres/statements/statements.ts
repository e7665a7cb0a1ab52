import { createHash } from "node:crypto"
import { render, type SchemaNames } from "./names.js"
import { statementTexts } from "./sql.js"

/**
 * Named ones are prepared once by each connection, and their plan may be kept for as long as there are no new statistics. So only these are: calls of functions,
 * whose settings hold their own plans to lookups, and inserts of values. What reads tables by itself is planned each time: a plan that was made while a table was
 * empty would read all of it later.
 */
const PREPARED: ReadonlySet<string> = new Set<keyof typeof statementTexts>([
  "abandon",
  "add_batch",
  "add_job",
  "claim",
  "claim_limited",
  "expire",
  "heartbeat",
  "insert_job",
  "insert_jobs",
  "next_due",
  "notify",
  "partitions",
  "progress",
  "promote",
  // Once by each worker.
  "publish_tasks",
  "register_worker",
  "rescue",
  "settle",
  "snapshots",
  "sweep",
  "wake",
  "watch",
])

/** Without a name it is planned each time; all are behind poolers in transaction mode. */
interface Statement {
  readonly name?: string
  readonly text: string
}
export type Statements = Readonly<Record<keyof typeof statementTexts, Statement>>

/** The statements of a schema. */
export function statementsFor(names: SchemaNames, prepared: boolean): Statements {
  const entries = Object.entries(statementTexts).map(([name, template]) => {
    const text = render(template, names)
    // The name carries the text's hash: two schemas, or two versions of the package, may share a connection.
    return [
      name,
      prepared && PREPARED.has(name) ? { name: `pgtusk_${name}_${createHash("sha256").update(text).digest("hex").slice(0, 12)}`, text } : { text },
    ]
  })
  return Object.fromEntries(entries) as Statements
}
