// Compiles sql/*.sql and sql/functions/*.sql into src/postgres/statements/sql.ts, since a loader that reads files at run time breaks under bundlers.
//   node scripts/generate-sql.mjs            writes it
//   node scripts/generate-sql.mjs --verify   fails when it is out of step
import { readdirSync, readFileSync, writeFileSync } from "node:fs"

const target = "src/postgres/statements/sql.ts"

const compile = (path) =>
  readFileSync(path, "utf8")
    .split("\n")
    .map((line) => line.replace(/^\s*--.*$/, ""))
    .filter((line) => line.trim() !== "")
    .join("\n")

const folder = (path) =>
  readdirSync(path)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map(
      (name) =>
        `  ${name.slice(0, -4)}: ${"`"}${compile(`${path}/${name}`).replaceAll("\\", "\\\\").replaceAll("`", "\\`").replaceAll("${", "\\${")}${"`"},`,
    )
    .join("\n")

const text = `// Made from sql/ by scripts/generate-sql.mjs: change the .sql files and run \`npm run generate\`.

/** Statements; \`{schema}\` stands for the quoted schema, \`{channel}\` for the channel of notifications. */
export const statementTexts = {
${folder("sql")}
} as const

/** Functions that the migrations create. */
export const functionTexts = {
${folder("sql/functions")}
} as const
`
if (process.argv.includes("--verify")) {
  if (readFileSync(target, "utf8") !== text) {
    console.error(`${target} is out of step with sql/: run npm run generate and commit it`)
    process.exit(1)
  }
} else {
  writeFileSync(target, text)
}
