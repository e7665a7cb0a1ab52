/** Every example runs by itself, against a database of its own, and checks itself. */
import { readdirSync } from "node:fs"
import { expect, test } from "vitest"
import { createDatabase } from "../support/database.js"
import { spawnScript } from "../support/process.js"

const folder = new URL("../../examples/", import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith(".ts"))

test("there are examples", () => {
  expect(files.length).toBeGreaterThan(3)
})

test.each(files)("examples/%s runs, prints something and ends", { timeout: 120_000 }, async (file) => {
  const database = await createDatabase()
  try {
    const example = spawnScript(new URL(file, folder), [], { DATABASE_URL: database.url })
    expect(await example.exit, example.stderr).toEqual({ code: 0, signal: null })
    expect(example.lines.join("").trim()).not.toBe("")
  } finally {
    await database.close()
  }
})
