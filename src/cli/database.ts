/** The options that say which database and schema a command works on. */
import { Option } from "commander"
import { InvalidOptionError } from "../api/errors.js"
import { quietLogger } from "../api/logger.js"
import { addressFromEnvironment, parseAddress, targetOf } from "../postgres/run/address.js"
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
 * The connection string of `--url`, else of DATABASE_URL; undefined where PGHOST and its kind say where the database is.
 * @throws InvalidOptionError when there is none, or it is none
 */
export function databaseUrl(url: string | undefined): string | undefined {
  const text = url ?? process.env["DATABASE_URL"]
  if (text === undefined || text === "") {
    if (addressFromEnvironment() !== undefined) return undefined
    throw new InvalidOptionError(
      "pgtusk does not know your database: write --url postgres://user:password@host:5432/database, set DATABASE_URL, or start a server of your own with `npx pgtusk dev`",
    )
  }
  parseAddress(text, url === undefined ? "DATABASE_URL" : "--url")
  return text
}

/** Host, port, database and schema, without secrets. */
export function describeDatabase(url: string | undefined, schema: string): string {
  const address = url === undefined ? addressFromEnvironment() : parseAddress(url)
  return `schema "${schema}"${address === undefined ? "" : ` of ${targetOf(address)}`}`
}

/** Runs `work` with a client and closes it, whatever happens. */
export async function withTusk<T>(options: DatabaseOptions, work: (tusk: Tusk, url: string | undefined) => Promise<T>): Promise<T> {
  const url = databaseUrl(options.url)
  const tusk = new Tusk({ ...(url === undefined ? {} : { connectionString: url }), schema: options.schema, logger: quietLogger })
  try {
    return await work(tusk, url)
  } finally {
    await tusk.close()
  }
}
