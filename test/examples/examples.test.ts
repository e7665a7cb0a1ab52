/** Every example runs by itself, against a database of its own, and checks itself. */
import { execFile } from "node:child_process"
import { readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect, test } from "vitest"
import { createDatabase } from "../support/database.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const files = readdirSync(`${root}examples`).filter((name) => name.endsWith(".ts"))

test("there are examples", () => {
  expect(files.length).toBeGreaterThan(3)
})

test.each(files)("examples/%s runs, prints something and ends", { timeout: 120_000 }, async (file) => {
  const database = await createDatabase()
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", `examples/${file}`], {
      cwd: root,
      timeout: 110_000,
      env: { ...process.env, DATABASE_URL: database.url, TSX_TSCONFIG_PATH: `${root}examples/tsconfig.json` },
    })
    expect(stdout.trim()).not.toBe("")
  } finally {
    await database.close()
  }
})
