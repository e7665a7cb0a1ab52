/** The examples of the manual: all compile, and the programs among them run and print what the page says. */
import { mkdir, rm, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { format } from "node:util"
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { checkTypes, type Program, programs, wrongMarks } from "../../scripts/docs-examples.mjs"
import { forgetTasks } from "../../src/task/registry.js"
import { createDatabase } from "../support/database.js"

const folder = fileURLToPath(new URL(".blocks/", import.meta.url))

test("every block is marked in a way that means something", () => {
  expect(wrongMarks()).toEqual([])
})

test("every block compiles", { timeout: 180_000 }, () => {
  expect(checkTypes()).toEqual([])
})

describe("programs", () => {
  beforeAll(async () => {
    await mkdir(folder, { recursive: true })
  })
  afterEach(() => {
    forgetTasks()
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
  })
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
  })

  test.each(programs().map((program): [string, Program] => [`${program.page}:${program.line}`, program]))(
    "%s",
    { timeout: 120_000 },
    async (place, { code, language, output }) => {
      const db = await createDatabase()
      try {
        vi.stubEnv("DATABASE_URL", db.url)
        const printed: string[] = []
        vi.spyOn(console, "log").mockImplementation((...args) => void printed.push(`${format(...args)}\n`))
        const file = `${folder}${place.replace(/[/.:]/g, "-")}.${language === "js" ? "mjs" : "ts"}`
        await writeFile(file, code)
        await import(/* @vite-ignore */ file)
        expect(printed.length).toBeGreaterThan(0)
        if (output !== undefined) expect(printed.join("")).toBe(output)
      } finally {
        await db.close()
      }
    },
  )
})
