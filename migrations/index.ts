import type { Migration } from "kysely"
import { render, type SchemaNames } from "../src/postgres/statements/names.js"
import { functionTexts } from "../src/postgres/statements/sql.js"
import * as tables from "./0001_tables.js"
import * as functions from "./0002_functions.js"
import * as servers from "./0003_servers.js"

/** The functions of this version, for a schema. */
export function functionsFor(names: SchemaNames): Record<string, string> {
  return Object.fromEntries(Object.entries(functionTexts).map(([name, text]) => [name, render(text, names)]))
}

/** All migrations of a schema, in order. A static list rather than a folder to read: bundlers drop what is not imported. */
export function migrationsFor(names: SchemaNames): Record<string, Migration> {
  const rendered = functionsFor(names)
  return {
    "0001_tables": { up: tables.up(names), down: tables.down(names) },
    "0002_functions": { up: functions.up, down: functions.down(rendered) },
    "0003_servers": { up: servers.up(names, rendered), down: servers.down(names) },
  }
}
