import { deepStrictEqual } from "node:assert"
import fc from "fast-check"
import { afterAll, beforeAll, expect, test } from "vitest"
import { TuskError } from "../../src/api/errors.js"
import { decode, decodeText, encode } from "../../src/codec/codec.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { seeded } from "../support/seed.js"

/** Text that Postgres stores. */
const text = fc.string({ unit: "binary" }).map((s) => s.replaceAll("\u0000", "").replace(/\p{Surrogate}/gu, ""))
const key = fc.oneof(text, fc.constantFrom("__proto__", "constructor", "toString", "$date", "$bigint", "$map", "$object", "$undefined", "$gt"))

/** Everything that the contract says survives, nested in everything that nests. */
const storable = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(null, undefined, true, false, "$date", Number.NaN, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
    fc.double(),
    fc.integer(),
    fc.maxSafeInteger(),
    text,
    fc.bigInt(),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
    fc.array(tie("value")),
    fc.array(fc.tuple(key, tie("value"))).map((entries) => Object.fromEntries(entries)),
    fc.array(fc.tuple(tie("value"), tie("value"))).map((entries) => new Map(entries)),
    fc.array(tie("value")).map((values) => new Set(values)),
  ),
})).value

test("what encode takes comes back the same", () => {
  const { seed } = seeded()
  fc.assert(
    fc.property(storable, (value) => {
      const json: unknown = JSON.parse(encode(value))
      const before = JSON.stringify(json)
      // Not toStrictEqual: it takes a key named "constructor" for the class.
      deepStrictEqual(decode(json), value)
      expect(JSON.stringify(json)).toBe(before)
      deepStrictEqual(decodeText(encode(value)), value)
    }),
    { seed, numRuns: 2_000 },
  )
})

test("whatever is passed, encode returns JSON or throws a PayloadError", () => {
  const { seed } = seeded()
  fc.assert(
    fc.property(
      fc.anything({
        withBigInt: true,
        withDate: true,
        withMap: true,
        withSet: true,
        withSparseArray: true,
        withTypedArray: true,
        withNullPrototype: true,
        withBoxedValues: true,
        withUnicodeString: false,
      }),
      (value) => {
        let encoded: string
        try {
          encoded = encode(value)
        } catch (error) {
          expect(error).toBeInstanceOf(TuskError)
          return
        }
        expect(encode(decodeText(encoded))).toBe(encoded)
      },
    ),
    { seed, numRuns: 2_000 },
  )
})

test("decode takes any JSON", () => {
  const { seed } = seeded()
  fc.assert(
    fc.property(fc.json(), (json) => {
      decode(JSON.parse(json))
    }),
    { seed },
  )
})

let db: TestDatabase
beforeAll(async () => {
  db = await createDatabase({ migrated: false })
})
afterAll(() => db.close())

/** Through a jsonb column's normal form, as text. */
async function throughJsonb(values: readonly unknown[]): Promise<unknown[]> {
  const rows = await db.query<{ json: string }>("select (v::jsonb)::text as json from unnest($1::text[]) with ordinality t(v, n) order by n", [
    values.map((v) => encode(v)),
  ])
  return rows.map((row) => decodeText(row.json))
}

test("what encode takes comes back the same through jsonb", async () => {
  const { seed } = seeded()
  const values = fc.sample(storable, { seed, numRuns: 1_000 })
  const restored = await throughJsonb(values)
  // jsonb orders the keys of objects, which deepStrictEqual does not mind.
  for (const [i, value] of values.entries()) deepStrictEqual(restored[i], value)
})

test("numbers at the edge and a thousand levels survive jsonb", async () => {
  let deep: unknown = new Date(0)
  for (let i = 0; i < 1_000; i++) deep = i % 2 === 0 ? [deep] : { a: deep }
  const values = [5e-324, 1.797_693_134_862_315_7e308, -1e21, 2 ** 53 + 2, 0.1 + 0.2, 1e-7, deep, "\\u0000", "\u0001\u007f"]
  expect(await throughJsonb(values)).toStrictEqual(values)
})
