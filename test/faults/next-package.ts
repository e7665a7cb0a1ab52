/** The release after this one, as far as a test can have it: one more migration like those to come, and a package that knows it. */
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { type Kysely, sql } from "kysely"
import { inject } from "vitest"
import { migrationsFor } from "../../migrations/index.js"
import type { Release } from "../../src/postgres/schema/migrate.js"
import { SCHEMA_VERSION } from "../../src/postgres/schema/schema-version.js"
import { render } from "../../src/postgres/statements/names.js"
import { functionTexts } from "../../src/postgres/statements/sql.js"
import { SCRIPT } from "../support/bundle.js"

const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Trial {
  /** The oldest version whose packages may go on. Default: the one before, as an additive migration says. */
  readonly minVersion?: number
  /** Awaited once all is done, with the locks held: it may throw, or take its time. */
  readonly atEnd?: () => Promise<void>
}

/** Adds a nullable column, an index over it, and replaces the functions that are called all the time. */
export function nextRelease({ minVersion = SCHEMA_VERSION, atEnd }: Trial = {}): Release {
  const version = SCHEMA_VERSION + 1
  return {
    version,
    migrationsFor: (names) => ({
      ...migrationsFor(names),
      "9999_trial": {
        up: async (db: Kysely<any>) => {
          const run = (text: string): Promise<unknown> => sql.raw(render(text, names)).execute(db)
          await run("alter table {schema}.jobs add column trial text")
          await run("alter table {schema}.finished_jobs add column trial text")
          await run("create index jobs_trial on {schema}.jobs (trial) where trial is not null")
          for (const name of ["claim", "settle", "add_jobs"] as const) {
            const text = functionTexts[name].replace("\nbegin\n", "\nbegin\n  -- As of the trial.\n")
            if (text === functionTexts[name]) throw new Error(`The function ${name} does not begin as the trial expects`)
            await run(text)
          }
          await run(`update {schema}.meta set version = ${version}, min_version = ${minVersion}`)
          await atEnd?.()
        },
      },
    }),
  }
}

/** The script, compiled with a package that needs the next version of the schema. */
export async function nextPackage(script: URL): Promise<string> {
  const outfile = `${inject("scripts")}/${process.pid}/next-package.mjs`
  await build({
    ...SCRIPT,
    entryPoints: [fileURLToPath(script)],
    outfile,
    alias: { pgtusk: `${root}src/index.ts` },
    plugins: [
      {
        name: "next version",
        setup: (on) => {
          on.onLoad({ filter: /src\/postgres\/schema\/schema-version\.ts$/ }, async ({ path }) => {
            const text = await readFile(path, "utf8")
            const next = text.replace(`SCHEMA_VERSION = ${SCHEMA_VERSION}\n`, `SCHEMA_VERSION = ${SCHEMA_VERSION + 1}\n`)
            if (next === text) throw new Error("The version's line is not where the test looks for it")
            return { contents: next, loader: "ts" }
          })
        },
      },
    ],
  })
  return outfile
}
