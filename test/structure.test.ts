/** The folders of src are rooms with one direction of imports, those of types included. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { describe, expect, test } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The rooms from the ground up, and of those before it what each may import. The public types know nothing, tasks and values no database. */
const ROOMS: Readonly<Record<string, string>> = {
  api: "",
  lib: "api",
  codec: "api lib",
  "postgres/statements": "api lib",
  "postgres/run": "api lib postgres/statements",
  "postgres/notify": "api lib postgres/statements postgres/run",
  "postgres/transactions": "api postgres/run",
  migrations: "postgres/statements",
  "postgres/schema": "api lib postgres/statements postgres/run migrations",
  embedded: "api lib",
  postgres: "api lib postgres/statements postgres/run postgres/notify postgres/transactions postgres/schema embedded",
  events: "api lib postgres/statements postgres",
  task: "api lib codec",
  enqueue: "api lib codec postgres/statements postgres/run postgres/notify events task",
  jobs: "api lib codec postgres/statements postgres/run postgres/notify postgres/transactions postgres events task enqueue",
  flows: "api lib postgres/run task",
  schedules: "api lib codec postgres/statements postgres/run postgres/notify postgres task enqueue",
  queues: "api lib postgres/statements postgres/run postgres task jobs",
  "worker/claim": "api lib postgres/statements postgres/run postgres/notify events task",
  "worker/run": "api lib codec postgres/statements postgres/run postgres/transactions events task jobs worker/claim",
  "worker/settle": "api lib postgres/statements postgres/run postgres/notify events jobs worker/run",
  "worker/maintenance": "api lib postgres/statements postgres/run postgres/notify events jobs schedules",
  worker: `api lib postgres/statements postgres/run postgres/notify postgres/schema postgres events task
    worker/claim worker/run worker/settle worker/maintenance`,
  "tusk-options": "api lib postgres/statements postgres/run",
  tusk: "api lib postgres/run postgres/transactions postgres events task jobs flows schedules queues worker tusk-options",
  index: "api flows task worker/run tusk",
  cli: "api lib codec postgres/statements postgres/run migrations postgres/schema embedded task tusk",
}
const GENERATED = ["src/postgres/statements/schema.ts", "src/postgres/statements/sql.ts"]

const allowed = (room: string): string[] => ROOMS[room]?.split(/\s+/).filter((name) => name !== "") ?? []

function filesIn(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name))
    .sort()
}

const sources = [...filesIn("src", ".ts"), ...filesIn("migrations", ".ts")]

/** A folder, or a file of src itself. */
function roomOf(file: string): string {
  const folder = dirname(file)
  return folder === "src" ? file.slice("src/".length, -".ts".length) : folder.replace(/^src\//, "")
}

interface Import {
  readonly from: string
  readonly to: string
  /** `import()`: a room like any other, but nothing waits for it when modules load. */
  readonly dynamic: boolean
}

/** The relative imports and re-exports of a file, those of types too. */
function importsOf(file: string): Import[] {
  const source = ts.createSourceFile(file, readFileSync(join(root, file), "utf8"), ts.ScriptTarget.Latest, false)
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, dynamic: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith(".")) return
    found.push({ from: file, to: join(dirname(file), specifier.text).replace(/\.js$/, ".ts"), dynamic })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier, false)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, false)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], true)
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const imports = sources.flatMap(importsOf)

/** Each cycle once, as its files in order. */
function cycles(): string[] {
  const next = new Map<string, string[]>()
  for (const { from, to, dynamic } of imports) if (!dynamic) next.set(from, [...(next.get(from) ?? []), to])
  const found: string[] = []
  const done = new Set<string>()
  const walk = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file].join(" → "))
    if (path.includes(file) || done.has(file)) return
    for (const to of next.get(file) ?? []) walk(to, [...path, file])
    done.add(file)
  }
  for (const file of sources) walk(file, [])
  return found
}

describe("imports", () => {
  test("are read: the client wires the rooms, and its options are known by their types alone", () => {
    const ofClient = imports.filter(({ from }) => from === "src/tusk.ts").map(({ to }) => roomOf(to))
    expect(ofClient).toEqual(expect.arrayContaining(["worker", "jobs", "task", "postgres", "api"]))
  })

  test("lead to files that exist", () => {
    expect(imports.filter(({ to }) => !sources.includes(to))).toEqual([])
  })

  test("every folder of src is a known room, and every room is there", () => {
    expect(Object.keys(ROOMS).sort()).toEqual([...new Set(sources.map(roomOf))].sort())
  })

  test("may come from rooms further down alone: no two rooms import each other", () => {
    const order = Object.keys(ROOMS)
    const upward = order.flatMap((room, at) =>
      allowed(room)
        .filter((other) => !order.slice(0, at).includes(other))
        .map((other) => `${room} → ${other}`),
    )
    expect(upward).toEqual([])
  })

  test("point one way", () => {
    const wrong = imports.filter(({ from, to }) => roomOf(from) !== roomOf(to) && !allowed(roomOf(from)).includes(roomOf(to)))
    expect(wrong.map(({ from, to }) => `${from} must not import ${to}: ${roomOf(from)} stands below ${roomOf(to)}`)).toEqual([])
  })

  test("are all needed: no room may import what it does not", () => {
    const used = new Set(imports.map(({ from, to }) => `${roomOf(from)} → ${roomOf(to)}`))
    const unused = Object.keys(ROOMS)
      .flatMap((room) => allowed(room).map((other) => `${room} → ${other}`))
      .filter((edge) => !used.has(edge))
    expect(unused).toEqual([])
  })

  test("run in no circle", () => {
    expect(cycles()).toEqual([])
  })
})

describe("the life of a job in docs/architecture.md", () => {
  const manual = readFileSync(join(root, "docs/architecture.md"), "utf8")
  const section = manual.slice(manual.indexOf("### The life of a job"), manual.indexOf("SQL is compiled into a module"))
  const files = [...section.matchAll(/`(src\/[\w/-]+\.ts)`/g)].map((match) => match[1]!)

  test("the map names files that exist", () => {
    const named = [...manual.matchAll(/`((?:src|sql|migrations|test|docs|scripts)\/[\w./-]+\.(?:ts|sql|mjs|md))`/g)].map((match) => match[1]!)
    expect(named.length).toBeGreaterThan(40)
    expect(named.filter((file) => !existsSync(join(root, file)))).toEqual([])
  })

  test("names at most fifteen files, all of which exist", () => {
    expect(files.length).toBeGreaterThan(8)
    expect(files.length).toBeLessThanOrEqual(15)
    expect(files.filter((file) => !sources.includes(file))).toEqual([])
  })

  test("each is imported by one that is named, or by the client that wires them", () => {
    const known = [...files, "src/tusk.ts", "src/index.ts"]
    const reached = files.filter((file) => imports.some(({ from, to }) => to === file && known.includes(from) && from !== file))
    expect(files.filter((file) => !reached.includes(file))).toEqual([])
  })
})

describe("timers", () => {
  const GLOBALS = new Set(["setTimeout", "clearTimeout", "setInterval", "clearInterval", "setImmediate", "clearImmediate", "performance"])

  /** What a file takes from the process instead of src/lib/timers.ts. Text in strings (the script of a child process) is not looked at. */
  function foreignTimers(file: string, text: string = readFileSync(join(root, file), "utf8")): string[] {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
    const own = new Set<string>()
    const found: string[] = []
    const report = (node: ts.Node): void => {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart())
      found.push(`${file}:${line + 1}: ${node.getText()}; take it from src/lib/timers.ts`)
    }
    const visit = (node: ts.Node): void => {
      if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
        if (/^(node:)?(timers|timers\/promises|perf_hooks)$/.test(node.moduleSpecifier.text)) report(node)
        const names = node.importClause?.namedBindings
        if (names !== undefined && ts.isNamedImports(names)) for (const { name } of names.elements) own.add(name.text)
        return
      }
      const member = ts.isPropertyAccessExpression(node) ? node.getText() : ""
      if (/^(Date\.now|AbortSignal\.timeout|process\.hrtime.*|globalThis\.(set|clear|performance).*)$/.test(member)) report(node)
      if (ts.isNewExpression(node) && node.expression.getText() === "Date" && (node.arguments ?? []).length === 0) report(node)
      const named = ts.isIdentifier(node) && !(ts.isPropertyAccessExpression(node.parent) && node.parent.name === node)
      if (named && GLOBALS.has(node.text) && !own.has(node.text)) report(node)
      ts.forEachChild(node, visit)
    }
    visit(source)
    return found
  }

  test("come from one module, which test tools cannot replace", () => {
    expect(sources.filter((file) => file !== "src/lib/timers.ts").flatMap((file) => foreignTimers(file))).toEqual([])
  })

  test("from elsewhere are found", () => {
    const each = ["setTimeout(f, 1)", "performance.now()", "Date.now()", "new Date()", "AbortSignal.timeout(1)", 'import "node:timers/promises"']
    expect(each.filter((text) => foreignTimers("src/x.ts", text).length !== 1)).toEqual([])
    expect(foreignTimers("src/x.ts", 'import { setTimeout } from "./timers.js"\nsetTimeout(f, 1)\nnew Date(0)\n"setTimeout(f)"')).toEqual([])
  })
})

describe("files", () => {
  const lines = (file: string): string[] => readFileSync(join(root, file), "utf8").trimEnd().split("\n")

  test("none is over 400 lines", () => {
    const long = [...sources, ...filesIn("sql", ".sql")].filter((file) => !GENERATED.includes(file)).map((file) => `${file}: ${lines(file).length}`)
    expect(long.filter((entry) => Number(entry.split(": ")[1]) > 400)).toEqual([])
  })

  test("every statement and function opens with its purpose", () => {
    const silent = filesIn("sql", ".sql").filter((file) => !/^-- \w.{20,}/.test(lines(file)[0] ?? ""))
    expect(silent).toEqual([])
  })

  test("the generated ones are where they are looked for", () => {
    expect(GENERATED.filter((file) => !sources.includes(file))).toEqual([])
  })
})
