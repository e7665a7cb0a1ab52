/** The folders of src are layers with one direction of imports. What only the compiler reads (`import type`) is free. */
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { describe, expect, test } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))

/** What each layer may import, besides itself. `base`: the files of src itself that know nothing of tasks or Postgres. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  task: ["base"],
  postgres: ["base", "migrations"],
  migrations: ["base", "postgres"],
  jobs: ["base", "task", "postgres"],
  worker: ["base", "task", "postgres", "jobs"],
  tusk: ["base", "task", "postgres", "jobs", "worker"],
  cli: ["base", "task", "postgres", "migrations", "jobs", "worker", "tusk"],
  dashboard: ["base", "task", "postgres", "jobs", "worker", "tusk"],
  testing: ["base", "task", "postgres", "jobs", "worker", "tusk"],
  index: ["base", "task", "postgres", "jobs", "worker", "tusk"],
}
const TOP: Readonly<Record<string, string>> = { "src/index.ts": "index", "src/tusk.ts": "tusk", "src/tusk-options.ts": "tusk" }
const GENERATED = ["src/postgres/schema.ts", "src/postgres/sql.ts"]

function filesIn(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name))
    .sort()
}

const sources = [...filesIn("src", ".ts"), ...filesIn("migrations", ".ts")]

function layerOf(file: string): string {
  const [top, folder] = file.split("/") as [string, string]
  if (top === "migrations") return top
  return TOP[file] ?? (folder.endsWith(".ts") ? "base" : folder)
}

interface Import {
  readonly from: string
  readonly to: string
  /** `import()`: a layer like any other, but nothing waits for it when modules load. */
  readonly dynamic: boolean
}

/** The relative imports and re-exports of a file that are there when it runs. */
function importsOf(file: string): Import[] {
  const source = ts.createSourceFile(file, readFileSync(join(root, file), "utf8"), ts.ScriptTarget.Latest, false)
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, dynamic: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith(".")) return
    found.push({ from: file, to: join(dirname(file), specifier.text).replace(/\.js$/, ".ts"), dynamic })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && !node.importClause?.isTypeOnly) add(node.moduleSpecifier, false)
    else if (ts.isExportDeclaration(node) && !node.isTypeOnly) add(node.moduleSpecifier, false)
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
  test("are read: the client wires the layers", () => {
    const ofClient = imports.filter(({ from }) => from === "src/tusk.ts").map(({ to }) => layerOf(to))
    expect(new Set(ofClient)).toEqual(new Set([...ofClient, "worker", "jobs", "task", "postgres"]))
  })

  test("lead to files that exist", () => {
    expect(imports.filter(({ to }) => !sources.includes(to))).toEqual([])
  })

  test("every folder of src is a known layer", () => {
    expect(sources.filter((file) => !(layerOf(file) in LAYERS))).toEqual([])
  })

  test("point one way", () => {
    const wrong = imports.filter(({ from, to }) => layerOf(from) !== layerOf(to) && !LAYERS[layerOf(from)]?.includes(layerOf(to)))
    expect(wrong.map(({ from, to }) => `${from} must not import ${to}: ${layerOf(from)} stands below ${layerOf(to)}`)).toEqual([])
  })

  test("run in no circle", () => {
    expect(cycles()).toEqual([])
  })
})

describe("timers", () => {
  const GLOBALS = new Set(["setTimeout", "clearTimeout", "setInterval", "clearInterval", "setImmediate", "clearImmediate", "performance"])

  /** What a file takes from the process instead of src/timers.ts. Text in strings (the script of a child process) is not looked at. */
  function foreignTimers(file: string, text: string = readFileSync(join(root, file), "utf8")): string[] {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
    const own = new Set<string>()
    const found: string[] = []
    const report = (node: ts.Node): void => {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart())
      found.push(`${file}:${line + 1}: ${node.getText()}; take it from src/timers.ts`)
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
    expect(sources.filter((file) => file !== "src/timers.ts").flatMap((file) => foreignTimers(file))).toEqual([])
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
