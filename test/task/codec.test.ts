import { runInNewContext } from "node:vm"
import { expect, test } from "vitest"
import { PayloadError } from "../../src/api/errors.js"
import { decode, decodeText, encode, encodeArgs } from "../../src/codec/codec.js"
import { thrownBy } from "./errors.js"

const roundTrip = (value: unknown): unknown => decodeText(encode(value))

test("plain JSON stays plain", () => {
  for (const value of [null, true, "text", "", 0, -1.5, 1e300, 2 ** 60, [], {}, [1, [2]], { a: { b: [null] } }, { $gt: 5 }, { $date: 1, b: 2 }]) {
    expect(encode(value)).toBe(JSON.stringify(value))
    expect(roundTrip(value)).toEqual(value)
  }
})

test.each<[unknown, unknown]>([
  [new Date("2026-01-01T00:00:00.000Z"), { $date: "2026-01-01T00:00:00.000Z" }],
  [12345678901234567890n, { $bigint: "12345678901234567890" }],
  [new Uint8Array([104, 105]), { $bytes: "aGk=" }],
  [Number.NaN, { $number: "NaN" }],
  [Number.POSITIVE_INFINITY, { $number: "Infinity" }],
  [Number.NEGATIVE_INFINITY, { $number: "-Infinity" }],
  [-0, { $number: "-0" }],
  [undefined, { $undefined: true }],
  [
    new Map<unknown, unknown>([
      ["a", 1n],
      [{ k: 1 }, new Date(0)],
    ]),
    {
      $map: [
        ["a", { $bigint: "1" }],
        [{ k: 1 }, { $date: "1970-01-01T00:00:00.000Z" }],
      ],
    },
  ],
  [new Set([1, undefined]), { $set: [1, { $undefined: true }] }],
  [
    { a: undefined, b: 1 },
    { a: { $undefined: true }, b: 1 },
  ],
  [
    [undefined, 1],
    [{ $undefined: true }, 1],
  ],
  [{ $date: "x" }, { $object: { $date: "x" } }],
  [{ $object: { $object: 1n } }, { $object: { $object: { $object: { $object: { $bigint: "1" } } } } }],
])("%o has its form, and comes back", (value, form) => {
  expect(JSON.parse(encode(value))).toEqual(form)
  expect(roundTrip(value)).toStrictEqual(value)
  expect(decode(form)).toStrictEqual(value)
})

test("a Buffer comes back as a Uint8Array with memory of its own", () => {
  const restored = roundTrip(Buffer.from("hello")) as Uint8Array
  expect(Object.getPrototypeOf(restored)).toBe(Uint8Array.prototype)
  expect(restored.buffer.byteLength).toBe(5)
  expect(Buffer.from(restored).toString()).toBe("hello")
})

test("a view on bytes keeps only what it shows", () => {
  expect(roundTrip(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))).toEqual(new Uint8Array([2, 3]))
})

test("objects of another realm and without a prototype pass, as do inherited Dates", () => {
  expect(roundTrip(runInNewContext("({ a: [1, new Date(0)], m: new Map([[1, 2]]), b: new Uint8Array([7]) })"))).toEqual({
    a: [1, new Date(0)],
    m: new Map([[1, 2]]),
    b: new Uint8Array([7]),
  })
  expect(roundTrip(Object.assign(Object.create(null), { a: 1, at: new Date(0) }))).toEqual({ a: 1, at: new Date(0) })
  class FakeDate extends Date {}
  expect(roundTrip(new FakeDate(5))).toEqual(new Date(5))
})

test("a key __proto__ survives as a key, and changes no prototype", () => {
  for (const text of [
    '{"__proto__":{"polluted":1}}',
    '{"__proto__":{"$bigint":"1"},"b":{"$date":"1970-01-01T00:00:00.000Z"}}',
    '{"$object":{"__proto__":{"$bigint":"5"}}}',
  ]) {
    const value = decodeText(text) as object
    expect(Object.keys(value)).toContain("__proto__")
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
    expect(decodeText(encode(value))).toStrictEqual(value)
  }
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  expect(encode(JSON.parse('{"__proto__":1}'))).toBe('{"__proto__":1}')
})

test("the same object twice is no circle", () => {
  const shared = { at: new Date(0) }
  expect(roundTrip([shared, shared, { shared }])).toEqual([shared, shared, { shared }])
})

test("symbol keys, hidden properties and extra properties of arrays are left out, as by JSON", () => {
  const hidden = Object.defineProperty({ a: 1, [Symbol("s")]: 2 }, "hidden", { value: 3, enumerable: false })
  expect(roundTrip(hidden)).toEqual({ a: 1 })
  expect(roundTrip("2026-01".match(/(\d+)-/))).toEqual(["2026-", "2026"])
})

class Money {
  amount = 5
}
const circle: Record<string, unknown> = { name: "root" }
circle["child"] = { list: [circle] }
const withGetter = {
  a: {
    get b(): number {
      throw new Error("no db")
    },
  },
}
const sparse: unknown[] = [1]
sparse[2] = 3

test.each<[string, unknown, string, string]>([
  ["a function", { items: [0, 1, 2, { callback() {} }] }, "$.items[3].callback", "is a function (callback); pass data"],
  ["an anonymous function", [() => {}], "$[0]", "is a function; pass data"],
  ["a class", { type: Money }, "$.type", "is a function (Money)"],
  ["a symbol", { s: Symbol("x") }, "$.s", "is a symbol (Symbol(x))"],
  ["an instance", { price: new Money() }, "$.price", "is an instance of Money; pass a plain object"],
  ["an instance with toJSON", { at: Object.assign(new Money(), { toJSON: () => 5 }) }, "$.at", "pass value.toJSON()"],
  ["an inherited object", { o: Object.create({ x: 1 }) }, "$.o", "is an object with a prototype of its own"],
  ["an array's subclass", [new (class Rows extends Array {})()], "$[0]", "is an instance of Rows; pass Array.from(value)"],
  ["a map's subclass", [new (class Index extends Map {})()], "$[0]", "is an instance of Index; pass new Map(value)"],
  ["an Error", { error: new TypeError("x") }, "$.error", "is an instance of TypeError; pass its message"],
  ["a Promise", { p: Promise.resolve() }, "$.p", "await it first"],
  ["a RegExp", { r: /x/ }, "$.r", "pass its source"],
  ["a URL", { u: new URL("http://x.y") }, "$.u", "pass its text"],
  ["a boxed string", { s: Object("x") }, "$.s", "pass the primitive value"],
  ["an ArrayBuffer", { b: new ArrayBuffer(2) }, "$.b", "pass new Uint8Array(value)"],
  ["another typed array", { b: new Float64Array(2) }, "$.b", "pass Array.from(value)"],
  ["a WeakMap", { w: new WeakMap() }, "$.w", "is an instance of WeakMap"],
  ["an invalid Date", [new Date(Number.NaN)], "$[0]", "is an invalid Date"],
  ["a hole", { list: sparse }, "$.list[1]", "is a hole in an array"],
  ["a circle", circle, "$.child.list[0]", "refers back to $, a circle"],
  ["a circle in a Map", [new Map([["self", circle]])], '$[0].get("self").child.list[0]', 'refers back to $[0].get("self"), a circle'],
  ["U+0000", { text: "a\u0000b" }, "$.text", "holds the character U+0000 (at index 1), which Postgres cannot store"],
  ["U+0000 in a key", { "a\u0000": 1 }, '$["a\\u0000"]', "has a name that holds the character U+0000"],
  ["half a surrogate pair", ["\ud83d"], "$[0]", "holds half of a surrogate pair (at index 0)"],
  ["half a surrogate pair in a key", { "\udc00": 1 }, '$["\\udc00"]', "has a name that holds half of a surrogate pair"],
  ["a getter that throws", withGetter, "$.a.b", "cannot be read (no db)"],
  ["a revoked Proxy", { p: revoked() }, "$.p", "cannot be read"],
  ["a member of a Set", [new Set([1, () => {}])], "$[0].values()[1]", "is a function"],
  ["a key of a Map", [new Map([[Symbol.iterator, 1]])], "$[0].keys()[0]", "is a symbol"],
  ["a value under an odd key", { "first name": { x: () => {} } }, '$["first name"].x', "is a function"],
  ["something beside a Date", { at: new Date(0), f: () => {} }, "$.f", "is a function"],
])("%s is refused with its path", (_, value, path, message) => {
  const error = thrownBy(() => encode(value, 'The result of task "t"'))
  expect(error).toBeInstanceOf(PayloadError)
  expect(error.path).toBe(path)
  expect(error.message).toContain(`The result of task "t" cannot be stored: ${path} `)
  expect(error.message).toContain(message)
})

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

test("the cause of a getter's failure is kept", () => {
  expect(thrownBy(() => encode(withGetter)).cause).toMatchObject({ message: "no db" })
})

test("text with the six characters \\u0000 in it is text, and pairs are whole", () => {
  for (const text of ["\\u0000", "\\ud83d", "\u0001", "😀", "a😀b\u001f"]) expect(roundTrip({ text, at: [text] })).toEqual({ text, at: [text] })
})

const nested = (levels: number, leaf: unknown): unknown => {
  let value = leaf
  for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { a: value }
  return value
}

test("a thousand levels pass, more are refused instead of overflowing the stack", () => {
  for (const leaf of [1, new Date(0)]) {
    expect(roundTrip(nested(1_000, leaf))).toEqual(nested(1_000, leaf))
    const error = thrownBy(() => encode(nested(1_001, leaf)))
    expect(error).toBeInstanceOf(PayloadError)
    expect(error.message).toContain("is nested deeper than 1,000 levels")
    expect(error.message.length).toBeLessThan(500)
  }
  expect(thrownBy(() => encode(nested(100_000, 1)))).toBeInstanceOf(PayloadError)
})

test("a deep level of foreign JSON is left as it is", () => {
  const deep = nested(50_000, { $date: "1970-01-01T00:00:00.000Z" })
  expect(() => decode(deep)).not.toThrow()
})

test("a circle behind a long list is found without walking the list a thousand times", () => {
  let reads = 0
  const list = new Proxy(new Array(100).fill(0), {
    get: (target, key) => {
      reads++
      return Reflect.get(target, key)
    },
  })
  const value: Record<string, unknown> = { list }
  value["self"] = value
  expect(thrownBy(() => encode(value)).path).toBe("$.self")
  expect(reads).toBeLessThan(100 * 100)
})

test("malformed tags stay the objects that they are", () => {
  const malformed = [
    { $date: "soon" },
    { $date: "5" },
    { $date: 5 },
    { $bigint: "1.5" },
    { $bigint: "" },
    { $bytes: 5 },
    { $number: "5" },
    { $undefined: 1 },
    { $map: [[1]] },
    { $map: {} },
    { $set: "x" },
    { $object: 5 },
    { $object: [1] },
    { $other: 1 },
  ]
  for (const json of malformed) expect(decode(json)).toBe(json)
})

test("instants as Postgres writes them are Dates too", () => {
  expect(decode({ $date: "2026-01-01T01:00:00.123456+01:00" })).toEqual(new Date("2026-01-01T00:00:00.123Z"))
  expect(decode({ $bytes: "aGVs\nbG8=" })).toEqual(new Uint8Array(Buffer.from("hello")))
})

test("decode copies nothing where nothing is tagged, and changes nothing where something is", () => {
  const plain = { a: [1, { b: "$date" }] }
  expect(decode(plain)).toBe(plain)
  const tagged = { a: [{ $bigint: "1" }], b: { c: 1 } }
  const restored = decode(tagged) as typeof tagged
  expect(restored).toEqual({ a: [1n], b: { c: 1 } })
  expect(restored.b).toBe(tagged.b)
  expect(tagged).toEqual({ a: [{ $bigint: "1" }], b: { c: 1 } })
})

test("trailing undefined arguments are dropped, others are kept", () => {
  expect(encodeArgs([])).toBe("[]")
  expect(encodeArgs([undefined, undefined])).toBe("[]")
  expect(encodeArgs(["a", undefined])).toBe('["a"]')
  const list = decodeText(encodeArgs(["a", undefined, 3, undefined])) as unknown[]
  expect(list).toEqual(["a", undefined, 3])
  expect(((_a: unknown, b = "default") => b)(...(list as [unknown]))).toBe("default")
})

test("the path of an argument begins with its index", () => {
  const error = thrownBy(() => encodeArgs(["to", { items: [{ callback: () => {} }] }], 'The argument list of task "t"'))
  expect(error.path).toBe("$[1].items[0].callback")
  expect(error.message).toBe(
    'The argument list of task "t" cannot be stored: $[1].items[0].callback is a function (callback); pass data, and look the function up in the handler',
  )
})
