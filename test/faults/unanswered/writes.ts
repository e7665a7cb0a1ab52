/** Every statement of the sources that writes, as `shows` of the tables beside this file names it. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { statementTexts } from "../../../src/postgres/statements/sql.js"

const SOURCES = fileURLToPath(new URL("../../../src", import.meta.url))
/** They hold statements for others: sql.ts the hot ones, which stand here by name; migrate.ts text for a tool, schema.ts types. */
const OTHERS = ["sql.ts", "migrate.ts", "schema.ts"]
const WRITE = /(insert into|update|delete from) \{schema\}\.(\w+)/g
const CALL = /(?:\{schema\}|\.quoted\})\.(\w+)\(/g

/** `volatile`: the names of the functions that may write. */
export function writesOf(volatile: ReadonlySet<string>): string[] {
  const calls = (text: string): string[] => [...text.matchAll(CALL)].map(([, name]) => name!).filter((name) => volatile.has(name))
  const hot = Object.entries(statementTexts)
    .filter(([, text]) => text.search(WRITE) !== -1 || calls(text).length > 0)
    .map(([name]) => `sql ${name}`)
  const built = readdirSync(SOURCES, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !OTHERS.includes(path.split("/").at(-1)!))
    .flatMap((path) => {
      const text = readFileSync(`${SOURCES}/${path}`, "utf8")
      const file = path.split("/").at(-1)!
      return [...[...text.matchAll(WRITE)].map(([, verb, table]) => `${file} ${verb} ${table}`), ...calls(text).map((name) => `${file} ${name}`)]
    })
  return [...hot, ...built].sort()
}
