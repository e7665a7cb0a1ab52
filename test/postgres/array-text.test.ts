import fc from "fast-check"
import { afterAll, beforeAll, expect, test } from "vitest"
import { arrayOfTexts, arrayOfWords } from "../../src/postgres/run/array-text.js"
import { createDatabase, type TestDatabase } from "../support/database.js"

let db: TestDatabase
beforeAll(async () => {
  db = await createDatabase({ migrated: false })
})
afterAll(() => db.close())

const texts = ["", " ", "null", "NULL", "{}", "a,b", '"', "\\", '\\"', "'", "\n\t", "$1", "漢", "🦣", '[{"a":"\\\\ \\" {,}"}]', null]

test("Postgres reads the texts that were written", async () => {
  expect(await db.query("select $1::text[] as read", [arrayOfTexts(texts)])).toEqual([{ read: texts }])
  expect(await db.query("select $1::text[] as read", [arrayOfTexts([])])).toEqual([{ read: [] }])
  const anyText = fc.option(
    fc.string({ unit: "binary" }).map((text) => text.replaceAll("\0", "")),
    { freq: 10 },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(anyText, { maxLength: 50 }), async (given) => {
      expect(await db.query("select $1::text[] as read", [arrayOfTexts(given)])).toEqual([{ read: given }])
    }),
    { numRuns: 100 },
  )
})

test("and numbers and ids", async () => {
  const numbers = [0, -1, 5, 1.5, 1e21, 2 ** 53, Number.MIN_VALUE, null]
  expect(await db.query("select $1::double precision[] as read", [arrayOfWords(numbers)])).toEqual([{ read: numbers }])
  const ids = ["00000000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-00000000000f"]
  expect(await db.query("select $1::uuid[] as read", [arrayOfWords(ids)])).toEqual([{ read: ids }])
  expect(await db.query("select $1::bigint[] as read", [arrayOfWords([])])).toEqual([{ read: [] }])
})
