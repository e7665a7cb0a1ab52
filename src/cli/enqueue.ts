import type { EnqueueOptions } from "../api/options.js"
import { decode } from "../codec/codec.js"
import { suggest } from "../lib/suggest.js"
import { schemaNames } from "../postgres/statements/names.js"
import type { Tusk } from "../tusk.js"
import { type DatabaseOptions, withTusk } from "./database.js"
import { UsageError } from "./failure.js"
import { note, print } from "./output.js"

export interface EnqueueCommandOptions extends DatabaseOptions {
  readonly options: string
}

/** `pgtusk enqueue` */
export async function enqueue(task: string, argsText: string, options: EnqueueCommandOptions): Promise<void> {
  const args = readJson(argsText, "The arguments", `'["a@b.c", 3]'`)
  if (!Array.isArray(args)) throw new UsageError(`The arguments are ${argsText}; write an array, one element an argument: '[${argsText}]'`)
  const jobOptions = readJson(options.options, "--options", `'{"delay": "5m"}'`)
  if (typeof jobOptions !== "object" || jobOptions === null || Array.isArray(jobOptions)) {
    throw new UsageError(`--options is ${options.options}; write an object: '{"delay": "5m", "queue": "mail"}'`)
  }
  for (const key of ["tx", "via"]) if (key in jobOptions) throw new UsageError(`--options has ${key}, which only code can give; leave it out`)
  await withTusk(options, async (tusk) => {
    const job = await tusk.enqueue(task, decode(args) as unknown[], withDate(jobOptions))
    print(job.id)
    note(
      job.created
        ? `Stored as a job of task "${task}" in queue "${job.queue}".`
        : `Nothing stored: this job of queue "${job.queue}" has the same id or key already.`,
    )
    await warnOfUnknownTask(tusk, task)
  })
}

function readJson(text: string, what: string, example: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UsageError(`${what}: ${text} is no JSON (${(error as Error).message}); write ${example}, in single quotes for the shell`)
  }
}

/** JSON has no instants: a delay that begins like a date is one, as in the SQL function. */
function withDate(options: object): EnqueueOptions {
  const delay: unknown = Reflect.get(options, "delay")
  return typeof delay === "string" && /^\d{4}-/.test(delay) ? { ...options, delay: new Date(delay) } : options
}

/** Producers may come before workers, so an unknown name is no error; but a misspelt one would wait for ever without a word. */
async function warnOfUnknownTask(tusk: Tusk, task: string): Promise<void> {
  const { rows } = await tusk.transaction((tx) => tx.query<{ name: string }>(`select name from ${schemaNames(tusk.schema).quoted}.tasks`))
  const names = rows.map((row) => row.name)
  if (names.includes(task)) return
  const meant = suggest(task, names)
  note(
    `No worker has run a task of that name here so far; the job waits until one does.${
      meant === undefined ? "" : ` Did you mean ${JSON.stringify(meant)}?`
    }`,
  )
}
