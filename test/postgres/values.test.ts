/** Values as our statements send them, and answers as they read them. */
import { expect, test } from "vitest"
import { TYPES, valueText } from "../../src/postgres/run/values.js"
import { connect } from "../jobs/setup.js"
import { serverUrl } from "../support/database.js"

const read = (oid: number, text: string): unknown => TYPES.getTypeParser(oid)(text)

test.each([
  ["2026-11-30 19:51:37.123456+00", "2026-11-30T19:51:37.123Z"],
  ["2026-11-30 19:51:37.1+05:45", "2026-11-30T14:06:37.100Z"],
  ["1890-01-01 00:00:00-00:01:15", "1890-01-01T00:01:15.000Z"],
  ["0044-03-15 12:00:00+00 BC", "-000043-03-15T12:00:00.000Z"],
  ["12026-01-01 00:00:00+00", "+012026-01-01T00:00:00.000Z"],
  ["0050-01-01 00:00:00-02", "0050-01-01T02:00:00.000Z"],
])("the instant %s", (text, iso) => {
  expect((read(1184, text) as Date).toISOString()).toBe(iso)
})

test("an instant that is not in ISO form is an error that says what to do", () => {
  expect(() => read(1184, "30.11.2026 19:51:37 UTC")).toThrow(/not its ISO form; leave DateStyle/)
  expect(read(1184, "-infinity")).toBe(Number.NEGATIVE_INFINITY)
})

test("arrays come back as they went, whatever stands in them", async () => {
  const client = await connect(serverUrl())
  for (const texts of [[], ["a", null, "NULL", "null", "", 'q"\\', "{,}", "a b", "é\n"], [null]]) {
    const { rows } = await client.query({ text: "select $1::text[] as v", values: [valueText(texts)], types: TYPES })
    expect(rows[0].v).toEqual(texts)
  }
  const dates = [new Date("2026-01-02T03:04:05.678Z"), new Date("0001-01-01T00:00:00Z"), new Date(-62_198_755_200_000), new Date(8.64e15 - 1)]
  for (const date of dates.slice(0, 3)) {
    const { rows } = await client.query({ text: "select $1::timestamptz as v", values: [valueText(date)], types: TYPES })
    expect(rows[0].v).toEqual(date)
  }
  const { rows } = await client.query({
    text: "select $1::int8 as a, $2::float8 as b, $3::bool as c, $4::jsonb as d, array[1, null, 3]::int[] as e, null::int as f",
    values: [12345678901234567890n / 10n, 0.1, true, { a: [1] }].map(valueText),
    types: TYPES,
  })
  expect(rows[0]).toEqual({ a: "1234567890123456789", b: 0.1, c: true, d: { a: [1] }, e: [1, null, 3], f: null })
})
