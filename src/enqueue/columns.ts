/** Drafts as the statements that store them take them: as the values of a row, as arrays of values, or as JSON text. */
import { arrayOfTexts, arrayOfWords } from "../postgres/run/array-text.js"
import type { Draft } from "../task/draft-types.js"

/** Needs nothing but an insert. */
export function isPlain({ local, customId, key, parents }: Draft): boolean {
  return local && customId === undefined && key === undefined && parents.length === 0
}

/** Due at once, for good, and without limits: a row and nothing to be computed. */
export function isBare({ delayMs, runAt, ttlMs, concurrencyKey, rateKey }: Draft): boolean {
  return delayMs === undefined && runAt === undefined && ttlMs === undefined && concurrencyKey === undefined && rateKey === undefined
}

export const queueOf = ({ queue = "default" }: Draft): string => queue
export const priorityOf = ({ priority = 5 }: Draft): number => priority
const attemptsOf = ({ maxAttempts = 1 }: Draft): number => maxAttempts

/** A job's values, as insert_job takes them. */
export function fields(draft: Draft, id: string): unknown[] {
  const { task, args, headers } = draft
  return [id, queueOf(draft), task, priorityOf(draft), attemptsOf(draft), args, json(headers) ?? null, json(storedOptions(draft)) ?? null]
}

/** Arrays of values, as insert_jobs takes them. */
export function columns(drafts: readonly Draft[], ids: readonly string[]): unknown[] {
  // What is rarely there is looked for in one go, since there may be a thousand drafts.
  const bare = drafts.every((draft) => isBare(draft) && draft.headers === undefined && draft.stored === undefined)
  return [
    arrayOfWords(ids),
    arrayOfTexts(common(drafts, queueOf)),
    arrayOfTexts(common(drafts, (d) => d.task)),
    arrayOfWords(common(drafts, priorityOf)),
    arrayOfWords(common(drafts, attemptsOf)),
    arrayOfTexts(drafts.map((d) => d.args)),
    ...(bare ? NOTHING_MORE : rareColumns(drafts)),
  ]
}
const NOTHING_MORE: readonly null[] = Array(7).fill(null)

function rareColumns(drafts: readonly Draft[]): (string | null)[] {
  return [
    numbers(drafts, (d) => d.delayMs),
    texts(drafts, (d) => d.runAt),
    numbers(drafts, (d) => d.ttlMs),
    texts(drafts, (d) => json(d.headers)),
    texts(drafts, (d) => json(storedOptions(d))),
    texts(drafts, (d) => d.concurrencyKey),
    texts(drafts, (d) => d.rateKey),
  ]
}

/** One value where all have the same, which the statement then takes for all; else one each. */
function common<T>(drafts: readonly Draft[], pick: (draft: Draft) => T): T[] {
  const first = pick(drafts[0]!)
  return drafts.every((draft) => pick(draft) === first) ? [first] : drafts.map(pick)
}

/** Null where no draft has one. */
function optional<T>(drafts: readonly Draft[], pick: (draft: Draft) => T | undefined): (T | null)[] | null {
  return drafts.some((draft) => pick(draft) !== undefined) ? drafts.map((draft) => pick(draft) ?? null) : null
}

function texts(drafts: readonly Draft[], pick: (draft: Draft) => string | undefined): string | null {
  const values = optional(drafts, pick)
  return values && arrayOfTexts(values)
}

function numbers(drafts: readonly Draft[], pick: (draft: Draft) => number | undefined): string | null {
  const values = optional(drafts, pick)
  return values && arrayOfWords(values)
}

function json(value: object | undefined): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value)
}

/** The job's `options` column; what a repeat needs to start afresh stands in it too. */
function storedOptions(draft: Draft): object | undefined {
  if (draft.stored === undefined) return undefined
  const { repeatEveryMs, ...rest } = draft.stored
  if (repeatEveryMs === undefined) return rest
  return {
    ...rest,
    // What is left out here add_jobs takes from the published task.
    repeat: { everyMs: repeatEveryMs, maxAttempts: draft.maxAttempts, ttlMs: draft.ttlMs },
  }
}

/** The drafts as add_jobs reads them. The arguments are JSON text already and go in as they are. */
export function draftsText(drafts: readonly Draft[], ids: readonly string[]): string {
  return `[${drafts.map((draft, i) => draftText(draft, ids[i])).join(",")}]`
}

/** One draft as add_jobs reads it; without an id it is a model for jobs to come. */
export function draftText(draft: Draft, id: string | undefined): string {
  const { args, stored: _stored, wake: _wake, parents, ...rest } = draft
  const options = storedOptions(draft)
  const head = JSON.stringify({ ...rest, id, ...(options === undefined ? {} : { options }), ...(parents.length === 0 ? {} : { parents }) })
  return `${head.slice(0, -1)},"args":${args}}`
}
