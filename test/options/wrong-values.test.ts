/** Every option of every public call × wrong values: each is refused at once, in an error that says what to write, before anything is asked of a server. */
import { describe, expect, test } from "vitest"
import { ConnectionError, TuskError } from "../../src/api/errors.js"
import { Tusk } from "../../src/index.js"
import { CALLS } from "./calls.js"
import { anyList, isRight, type Kind, list, options, describe as show, VALUES } from "./kinds.js"
import { beside, PLACES, parameterWith } from "./places.js"
import { publicPlaces } from "./public-places.js"

const ENTRIES = Object.entries(PLACES).filter((entry): entry is [string, Kind] => typeof entry[1] !== "string")
const headOf = (place: string): string => /^[^(]*\([^)]*\)/.exec(place)![0]
const nameOf = (place: string): string | undefined => /\.([A-Za-z]+)(\[\]|\{\}|\(\))*$/.exec(place.slice(headOf(place).length))?.[1]

/** Nobody listens there, so a call that reaches out for a server gets a ConnectionError. */
const client = (): Tusk => new Tusk({ connectionString: "postgres://nobody@127.0.0.1:1/nothing", signals: false })

async function outcomeOf(place: string, parameter: unknown): Promise<unknown> {
  try {
    await CALLS[headOf(place)]!.use(client(), parameter)
    return undefined
  } catch (error) {
    return error
  }
}

/** Whether a right value was taken: the call went well, or as far as the server. */
const isTaken = (outcome: unknown): boolean => outcome === undefined || outcome instanceof ConnectionError

const OURS = ["INVALID_OPTION", "SCHEDULE", "FLOW", "PAYLOAD"]
const REMEDY = /\b(write|pass|give|leave|remove|did you mean|await|check|put|its options are|it may have)\b/i
/** What errors call an option in plain words. */
const WORDS: Readonly<Record<string, string>> = { tz: "time zone", when: "Schedule", dependsOn: "depends on" }

/** What is wrong with the refusal of a wrong value; undefined: nothing. */
function faultOf(place: string, kind: Kind, value: unknown, outcome: unknown): string | undefined {
  if (outcome === undefined) return "is taken"
  if (!(outcome instanceof TuskError)) return `ends in ${outcome instanceof Error ? outcome.stack : String(outcome)}`
  if (!OURS.includes(outcome.code)) return `ends in ${outcome.code}: ${outcome.message}`
  const { message } = outcome
  const call = CALLS[headOf(place)]!
  const name = nameOf(place)
  const named = name === undefined ? call.says.test(message) : message.includes(name) || message.includes(WORDS[name] ?? name)
  if (!REMEDY.test(message)) return `says not what to write: ${message}`
  if (!named && unknownKeyOf(value) === undefined) return `does not name the option: ${message}`
  // What is no object of options at all has no name.
  const mayBeOf = name !== undefined && name !== "name"
  if (call.of !== undefined && mayBeOf && !call.of.test(message)) return `does not name whose option it is: ${message}`
  if (kind.secret !== true && !shows(message, value)) return `does not show ${show(value)}: ${message}`
  if (message.length > 1_000) return `says too much: ${message}`
  return undefined
}

/** Whether the message shows the value, or what is wrong inside of it. */
function shows(message: string, value: unknown): boolean {
  if (message.includes(show(value))) return true
  const key = unknownKeyOf(value)
  if (key !== undefined && (message.includes(`"${key}"`) || message.includes(`.${key} is`))) return true
  if (isRight(list(), value) || value === "" || value === undefined) return /empty|needs|has no|undefined/.test(message)
  if (typeof value === "string" && value.length > 255)
    return [value.length, Buffer.byteLength(value)].some((length) => message.includes(String(length)))
  if (isRight(anyList, value)) return (value as unknown[]).some((element) => shows(message, element))
  // Where something is missing in it, or of what it returns.
  return (isRight(options, value) || typeof value === "function") && /undefined|has no|needs|is empty/.test(message)
}

/** Names that no options have. */
function unknownKeyOf(value: unknown): string | undefined {
  return show(value).includes("{ a: 1 }") ? "a" : value instanceof Uint8Array ? "0" : undefined
}

test("the table has every place of every public call, and no other", () => {
  const places = publicPlaces().filter((place) => !/^new \w+Error\(/.test(place) || place === "new RetryAfterError(delay)")
  expect(Object.keys(PLACES).sort()).toEqual(places)
  const heads = [...new Set(ENTRIES.map(([place]) => headOf(place)))]
  expect(Object.keys(CALLS).sort()).toEqual(heads.sort())
}, 60_000)

describe("every wrong value is refused, and every right one taken", () => {
  test.each([...new Set(ENTRIES.map(([place]) => headOf(place)))])("%s", async (head) => {
    const wrong: string[] = []
    for (const [place, kind] of ENTRIES.filter(([one]) => headOf(one) === head)) {
      for (const value of [...VALUES, ...(kind.more ?? []), ...(kind.required === true ? [undefined] : [])]) {
        if (isRight(kind, value) && CALLS[head]!.waits === true) continue
        const outcome = await outcomeOf(place, parameterWith(place, value))
        const right = isRight(kind, value)
        if (right && (isTaken(outcome) || (kind.later?.(value) === true && outcome instanceof TuskError))) continue
        const fault = right ? `is refused: ${String(outcome)}` : faultOf(place, kind, value, outcome)
        if (fault !== undefined) wrong.push(`${place} = ${show(value)} ${fault}`)
      }
    }
    expect(wrong).toEqual([])
  })
})

/** The options by the object that they stand in. */
const OBJECTS = new Map<string, [string, Kind][]>()
for (const [place, kind] of ENTRIES) {
  const name = nameOf(place)
  if (name === undefined || !place.endsWith(`.${name}`)) continue
  const parent = place.slice(0, -name.length - 1)
  OBJECTS.set(parent, [...(OBJECTS.get(parent) ?? []), [name, kind]])
}

/** An object of options with one that is read by `get`. */
function withGetter(place: string, name: string, get: () => unknown): object {
  return Object.defineProperty({ ...beside(place) }, name, { enumerable: true, configurable: true, get })
}

describe("an object of options", () => {
  test("with a name that nearly is one: the error says which is meant", async () => {
    const wrong: string[] = []
    for (const [parent, members] of OBJECTS) {
      for (const [name] of members) {
        const typo = `${name}s`
        const outcome = await outcomeOf(parent, parameterWith(parent, { ...beside(`${parent}.${name}`), [typo]: 1 }))
        const message = outcome instanceof TuskError && OURS.includes(outcome.code) ? outcome.message : `no refusal: ${String(outcome)}`
        // Alone it may look like another form of the value: then all forms are listed.
        const remedy = message.slice(message.lastIndexOf("; "))
        if (!message.includes(typo) || !new RegExp(`\\b${name}\\b`).test(remedy)) wrong.push(`${parent}: ${message}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test("with a getter that throws: the error has what it threw as its cause", async () => {
    const wrong: string[] = []
    for (const [parent, members] of OBJECTS) {
      for (const [name] of members) {
        const boom = (): never => {
          throw new RangeError("boom")
        }
        const outcome: any = await outcomeOf(parent, parameterWith(parent, withGetter(`${parent}.${name}`, name, boom)))
        let cause: unknown = outcome?.cause
        while (cause instanceof TuskError) cause = cause.cause
        if (!(outcome instanceof TuskError) || !outcome.message.includes("boom") || !(cause instanceof RangeError))
          wrong.push(`${parent}.${name}: ${String(outcome)}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test("is read once: what is used is what was checked", async () => {
    const wrong: string[] = []
    for (const [parent, members] of OBJECTS) {
      for (const [name, kind] of members) {
        if (kind.sample === undefined || CALLS[headOf(parent)]!.waits === true) continue
        let reads = 0
        const once = (): unknown => {
          reads++
          return kind.sample
        }
        const outcome = await outcomeOf(parent, parameterWith(parent, withGetter(`${parent}.${name}`, name, once)))
        if (!isTaken(outcome)) wrong.push(`${parent}.${name} is refused: ${String(outcome)}`)
        // What stands inside of an option is checked again where options are merged; the last reading is the one that counts.
        else if (reads !== 1 && !(reads === 2 && parent !== headOf(parent))) wrong.push(`${parent}.${name} was read ${reads} times`)
      }
    }
    expect(wrong).toEqual([])
  })
})
