/** What goes into a job comes out of it: in the handler, in the snapshot, in the result. */
import { describe, expect, test } from "vitest"
import { PayloadError, PayloadTooLargeError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { bench, openTusk, rejection, startWorker } from "./setup.js"

const on = bench()

const got: unknown[][] = []
const echo = task({ name: "echo" }, async (...args: unknown[]) => {
  got.push(args)
  return args[0]
})
const enqueueAny = echo as unknown as { with(options: object): { enqueue(...args: unknown[]): ReturnType<typeof echo.enqueue> } }

const values: readonly (readonly [string, unknown])[] = [
  ["null", null],
  ["text", 'it\'s "quoted" \\ \n\t é 漢字 🐘 \u2028 $1 ? ::jsonb'],
  ["empty text", ""],
  ["numbers", [0, -1, 1.5, 1e308, 5e-324, Number.MAX_SAFE_INTEGER, 0.1 + 0.2]],
  ["-0, NaN and infinities", [-0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  ["undefined in a list and as a property", [1, undefined, { a: undefined, b: [undefined] }]],
  ["Date", [new Date(0), new Date("2026-01-02T03:04:05.678Z"), new Date(8.64e15)]],
  ["bigint", [0n, -12345678901234567890n, 2n ** 200n]],
  ["Uint8Array", [new Uint8Array([0, 1, 254, 255]), new Uint8Array(0)]],
  [
    "Map",
    new Map<unknown, unknown>([
      ["a", 1],
      [{ key: new Date(5) }, new Set([1n, "two"])],
      [undefined, new Map()],
    ]),
  ],
  ["Set", new Set<unknown>([1, "1", [1], new Set()])],
  ["deep", { list: [{ when: new Date(1), more: { list: [[[new Uint8Array([7])]]] } }], empty: {}, none: [] }],
  ["objects that look like tags", [{ $date: "2026-01-01T00:00:00.000Z" }, { $bigint: "1" }, { $object: { $set: [] } }, { $date: 1, b: 2 }]],
  ["keys that are special elsewhere", JSON.parse('{"__proto__": {"x": 1}, "constructor": 2, "toString": null, "snake_case": 3, "": 4}')],
  ["what a camel-case mapper would rename", { user_id: 1, nested_list: [{ deep_key: new Date(2) }] }],
]

describe("the payload codec through the database", () => {
  test("every value comes back in the handler, in snapshot().args, in result() and in snapshot().result", async () => {
    await startWorker(on.tusk, { queues: { default: 1 } })
    for (const [name, value] of values) {
      got.length = 0
      const job = await enqueueAny.with({ via: on.tusk }).enqueue(value, "second")
      expect(await job.result(), name).toStrictEqual(value)
      expect(got, name).toStrictEqual([[value, "second"]])
      const snapshot = await job.snapshot()
      expect(snapshot.args, name).toStrictEqual([value, "second"])
      expect(snapshot.result, name).toStrictEqual(value)
    }
  })

  test("-0 stays -0, and a Buffer comes back as a Uint8Array of its own memory", async () => {
    await startWorker(on.tusk, { queues: { default: 1 } })
    got.length = 0
    const buffer = Buffer.from("hello")
    const job = await enqueueAny.with({ via: on.tusk }).enqueue([-0, buffer])
    const [zero, bytes] = (await job.result()) as [number, Uint8Array]
    expect(Object.is(zero, -0)).toBe(true)
    expect(bytes.constructor).toBe(Uint8Array)
    expect(bytes.buffer.byteLength).toBe(5)
    expect(Buffer.from(bytes).toString()).toBe("hello")
  })

  test("rows hold plain JSON, tagged only where JSON has no form", async () => {
    await enqueueAny.with({ via: on.tusk }).enqueue({ at: new Date(0), n: 5n, plain: [1, "a", null] })
    expect(await on.db.query("select args from tusk.jobs")).toEqual([
      { args: [{ at: { $date: "1970-01-01T00:00:00.000Z" }, n: { $bigint: "5" }, plain: [1, "a", null] }] },
    ])
  })

  test("defaults of the function apply to arguments left out, undefined ones at the end included", async () => {
    const greet = task({ name: "greet" }, async (name: string, greeting = "Hello", mark = "!") => `${greeting}, ${name}${mark}`)
    await startWorker(on.tusk, { queues: ["default"] })
    const view = greet.with({ via: on.tusk })
    const jobs = [await view.enqueue("you"), await view.enqueue("you", undefined, undefined), await view.enqueue("you", undefined, "?")]
    expect(await Promise.all(jobs.map((job) => job.result()))).toEqual(["Hello, you!", "Hello, you!", "Hello, you?"])
  })

  test("what was passed is stored, whatever becomes of the object later", async () => {
    const object = { n: 1 }
    const enqueued = enqueueAny.with({ via: on.tusk }).enqueue(object)
    object.n = 2
    expect((await (await enqueued).snapshot()).args).toEqual([{ n: 1 }])
  })
})

describe("what cannot be stored", () => {
  const circle: Record<string, unknown> = { name: "circle" }
  circle["self"] = { back: circle }
  class Money {
    amount = 1
  }
  test.each([
    ["a function", [{ items: [{ callback: function send() {} }] }], "$[0].items[0].callback", /is a function \(send\)/],
    ["a circle", [circle], "$[0].self.back", /refers back to \$\[0\], a circle/],
    ["a symbol", ["a", Symbol("s")], "$[1]", /is a symbol/],
    ["an instance of a class", [{ price: new Money() }], "$[0].price", /is an instance of Money/],
    ["an invalid Date", [new Date(Number.NaN)], "$[0]", /invalid Date/],
    ["U+0000", [{ text: "a\0b" }], "$[0].text", /U\+0000/],
    ["half of a surrogate pair", ["\ud800"], "$[0]", /half of a surrogate pair/],
    ["a promise", [Promise.resolve(1)], "$[0]", /await it first/],
  ])("%s is refused with its path, and nothing is stored", async (_, args, path, message) => {
    const error = await rejection(enqueueAny.with({ via: on.tusk }).enqueue(...args))
    expect(error).toBeInstanceOf(PayloadError)
    expect(error.path).toBe(path)
    expect(error.message).toMatch(message)
    expect(error.message).toContain(`The argument list of task "echo" cannot be stored: ${path}`)
    expect(await on.db.query("select 1 from tusk.jobs")).toEqual([])
  })
})

describe("the payload limit", () => {
  const bytes = (n: number): string => "x".repeat(n - 4)

  test("is 1 MiB of JSON unless said otherwise, exactly", async () => {
    const view = enqueueAny.with({ via: on.tusk })
    await view.enqueue(bytes(1_048_576))
    const error = await rejection(view.enqueue(bytes(1_048_577)))
    expect(error).toBeInstanceOf(PayloadTooLargeError)
    expect(error.message).toMatch(/task "echo" take 1,048,577 bytes as JSON, and the limit is 1,048,576; .*pass its id, or raise maxPayloadBytes/)
    expect(await on.db.query("select count(*)::int as n from tusk.jobs")).toEqual([{ n: 1 }])
  })

  test("counts bytes, not characters, and can be set or lifted", async () => {
    const small = openTusk({ connectionString: on.db.url, maxPayloadBytes: 100 })
    await enqueueAny.with({ via: small }).enqueue("é".repeat(48))
    expect((await rejection(enqueueAny.with({ via: small }).enqueue("é".repeat(49)))).code).toBe("PAYLOAD_TOO_LARGE")
    const any = openTusk({ connectionString: on.db.url, maxPayloadBytes: null })
    const job = await enqueueAny.with({ via: any }).enqueue(bytes(3_000_000))
    expect(((await job.snapshot()).args[0] as string).length).toBe(3_000_000 - 4)
  })

  test("holds in a transaction too", async () => {
    const error = await rejection(on.tusk.transaction((tx) => enqueueAny.with({ via: on.tusk, tx }).enqueue(bytes(2_000_000))))
    expect(error.code).toBe("PAYLOAD_TOO_LARGE")
  })
})
