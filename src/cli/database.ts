/** The options that say which database and schema a command works on. */
import { Option } from "commander"
import { InvalidOptionError } from "../errors.js"
import { quietLogger } from "../logger.js"
import { parseConnectionString, targetOf } from "../postgres/pool.js"
import { Tusk } from "../tusk.js"

export interface DatabaseOptions {
  readonly url?: string
  readonly schema: string
}

export function urlOption(): Option {
  return new Option("--url <url>", "the database, as postgres://user:password@host:5432/database (default: the environment's DATABASE_URL)")
}
export function schemaOption(): Option {
  return new Option("--schema <name>", "the schema that pgtusk lives in").default("tusk")
}

/**
 * The connection string of `--url`, else of DATABASE_URL.
 * @throws InvalidOptionError when there is none, or it is none
 */
export function databaseUrl(url: string | undefined): string {
  const text = url ?? process.env["DATABASE_URL"]
  if (text === undefined || text === "") {
    throw new InvalidOptionError(
      "pgtusk does not know your database: write --url postgres://user:password@host:5432/database, set DATABASE_URL, or start a server of your own with `npx pgtusk dev`",
    )
  }
  parseConnectionString(text, url === undefined ? "DATABASE_URL" : "--url")
  return text
}

/** Host, port, database and schema, without secrets. */
export function describeDatabase(url: string, schema: string): string {
  return `schema "${schema}" of ${targetOf({ connectionString: url })}`
}

/** Runs `work` with a client and closes it, whatever happens. */
export async function withTusk<T>(options: DatabaseOptions, work: (tusk: Tusk, url: string) => Promise<T>): Promise<T> {
  const url = databaseUrl(options.url)
  const tusk = new Tusk({ connectionString: url, schema: options.schema, logger: quietLogger })
  try {
    return await work(tusk, url)
  } finally {
    await tusk.close()
  }
}
