/** Imports the modules that a command line names, as paths or as package names, and says in one line why it cannot. */
import { statSync } from "node:fs"
import { createRequire } from "node:module"
import { join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { inspect } from "node:util"
import { UsageError } from "./failure.js"
import { note } from "./output.js"

/** In order, since a later one may build on what an earlier one has set up. */
export async function loadModules(names: readonly string[], verbose: boolean): Promise<void> {
  for (const name of names) {
    const url = locate(name)
    try {
      await import(url)
    } catch (error) {
      if (verbose) note(inspect(error))
      throw new UsageError(explain(name, error), { cause: error })
    }
  }
}

/** A file of that path comes first, then a package as the working directory sees it. */
function locate(name: string): string {
  const path = resolve(name)
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isFile()) return pathToFileURL(path).href
  if (found?.isDirectory()) throw new UsageError(`${name} is a folder; name the file in it that defines the tasks`)
  if (/^\.{0,2}[/\\]/.test(name) || /\.[cm]?[jt]sx?$/.test(name)) {
    throw new UsageError(`There is no file ${path}; write the path of a module that defines tasks, seen from ${process.cwd()}`)
  }
  try {
    return pathToFileURL(createRequire(join(process.cwd(), "_.js")).resolve(name)).href
  } catch {
    throw new UsageError(`${JSON.stringify(name)} is neither a file (${path}) nor a package that is installed here`)
  }
}

function explain(name: string, error: unknown): string {
  const code: unknown = typeof error === "object" && error !== null ? Reflect.get(error, "code") : undefined
  if (code === "ERR_UNKNOWN_FILE_EXTENSION" && /\.[cm]?tsx?$/.test(name)) {
    return `${name} is TypeScript, which this Node.js (${process.version}) does not run by itself. Install tsx and write: NODE_OPTIONS="--import tsx" npx pgtusk worker ${name}`
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error)
  const place = error instanceof Error ? placeOf(error) : undefined
  return `${name} could not be loaded: ${message}${place === undefined ? "" : `\n    ${place}`}`
}

/** Where it happened in the user's code: the message alone seldom tells. A syntax error has its place above its message. */
function placeOf({ stack = "", name }: Error): string | undefined {
  const lines = stack.split("\n")
  if (name === "SyntaxError" && /^(file:|\/|[A-Za-z]:\\).*:\d+$/.test(lines[0]!)) return `at ${lines[0]}`
  return lines.find((line) => /^\s+at /.test(line) && !line.includes("node:internal"))?.trim()
}
