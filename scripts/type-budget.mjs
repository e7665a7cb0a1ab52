/**
 * What 200 tasks cost the type checker. Fails over a budget of type instantiations, which are the same on every machine; times are only shown.
 *
 *     node scripts/type-budget.mjs
 */
import { fileURLToPath } from "node:url"
import ts from "typescript"

const TASKS = 200
/** Measured 194 a task; a change that makes it a multiple would be felt in editors long before the compiler gives up on depth. */
const INSTANTIATIONS_PER_TASK = 600

const root = fileURLToPath(new URL("..", import.meta.url))
const file = `${root}test/types/generated-tasks.ts`

/** One task of each kind in turn, defined and used. */
const kinds = [
  (
    i,
  ) => `const t${i} = task({ name: "t${i}", queue: "q", retries: 3, ttl: "1h" }, async (to: string, subject: string, body = "") => ({ to, subject, body }))
await t${i}.enqueue("a", "b")
await t${i}.with({ delay: "10m", priority: 3 }).enqueue("a", "b", "c")`,
  (
    i,
  ) => `const t${i} = task({ name: "t${i}", progress: true }, async (reportProgress, rows: number[], size = ${i}) => { reportProgress(0.5); return rows.length + size })
const j${i} = await t${i}.with({ dependsOn: [] }).enqueue([1, 2])
const r${i}: number = await j${i}.result()`,
  (i) => `interface Order${i} { id: string; lines: { sku: string; count: number; at: Date }[]; note?: string }
const t${i} = task({ name: "t${i}", deduplicate: (order) => order.id }, async (order: Order${i}, mode: "fast" | "safe") => ({ id: order.id, mode }))
await t${i}.enqueueMany([[{ id: "1", lines: [] }, "fast"]])
await t${i}.schedule("s${i}", { cron: "0 9 * * *" }, { id: "1", lines: [] }, "safe")`,
  (i) => `const t${i} = task({ name: "t${i}", input: schema }, async (order) => order.count + ${i})
await t${i}.enqueue({ id: "1" })
const c${i} = taskRef<typeof t${i}>("t${i}").call({ id: "1", count: 2 })`,
  (i) => `class C${i} {
  @task({ name: "t${i}" }) async run(a: string, b = ${i}) { return { a, b } }
  @task({ name: "s${i}" }) static async all(n: number) { return n }
}
await tasksOf(C${i}).run.enqueue("a")
await tasksOf(C${i}).all.enqueue(1)`,
]

function source(count) {
  const head = `import { task, tasksOf, taskRef, type StandardSchema } from "pgtusk"
declare const schema: StandardSchema<{ id: string; count?: number }, { id: string; count: number }>
void [task, tasksOf, taskRef, schema]
export {}
`
  return head + Array.from({ length: count }, (_, i) => kinds[i % kinds.length](i)).join("\n")
}

const config = ts.readConfigFile(`${root}test/tsconfig.json`, ts.sys.readFile).config
const options = { ...ts.parseJsonConfigFileContent(config, ts.sys, `${root}test`).options, noUnusedLocals: false, noEmit: true }
const parsed = new Map()

function measure(count) {
  const host = ts.createCompilerHost(options)
  const parse = host.getSourceFile
  host.getSourceFile = (name, languageVersion, ...rest) => {
    if (name === file) return ts.createSourceFile(name, source(count), languageVersion, true)
    if (!parsed.has(name)) parsed.set(name, parse(name, languageVersion, ...rest))
    return parsed.get(name)
  }
  const exists = host.fileExists
  host.fileExists = (name) => name === file || exists(name)
  const program = ts.createProgram([file], options, host)
  const start = performance.now()
  const errors = program.getSemanticDiagnostics(program.getSourceFile(file))
  const milliseconds = performance.now() - start
  if (errors.length > 0) {
    console.error(
      ts.formatDiagnostics(errors.slice(0, 5), { getCurrentDirectory: () => root, getCanonicalFileName: (name) => name, getNewLine: () => "\n" }),
    )
    process.exit(1)
  }
  return { instantiations: program.getInstantiationCount(), types: program.getTypeCount(), milliseconds }
}

const none = measure(0)
const all = measure(TASKS)
const instantiations = all.instantiations - none.instantiations
const perTask = Math.round(instantiations / TASKS)

console.log(`type budget: ${TASKS} tasks checked in ${Math.round(all.milliseconds)} ms`)
console.log(`types: ${all.types - none.types}`)
console.log(`instantiations: ${instantiations}, ${perTask} a task, budget ${INSTANTIATIONS_PER_TASK} a task`)
if (perTask > INSTANTIATIONS_PER_TASK) {
  console.error("type budget exceeded: look at what changed in src/api/task.ts, infer.ts and task.ts (tsc --generateTrace shows where)")
  process.exit(1)
}
