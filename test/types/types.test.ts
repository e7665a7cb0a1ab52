import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { describe, expect, test } from "vitest"

const configFile = fileURLToPath(new URL("../tsconfig.json", import.meta.url))
const { options: ours } = ts.parseJsonConfigFileContent(ts.readConfigFile(configFile, ts.sys.readFile).config, ts.sys, dirname(configFile))

// Parsing the libraries takes most of the time: once for all settings.
const parsed = new Map<string, ts.SourceFile | undefined>()

/** What tsc says about one file of this folder, with the repository's own settings but for these. */
function check(name: string, settings: ts.CompilerOptions): string[] {
  const path = fileURLToPath(new URL(name, import.meta.url))
  const options = { ...ours, ...settings }
  const host = ts.createCompilerHost(options)
  const parse = host.getSourceFile
  host.getSourceFile = (file, ...rest) => {
    if (!parsed.has(file)) parsed.set(file, parse(file, ...rest))
    return parsed.get(file)
  }
  const program = ts.createProgram([path], options, host)
  const source = program.getSourceFile(path)
  return [...program.getOptionsDiagnostics(), ...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((found) => {
    const line = found.file === undefined ? "" : `:${found.file.getLineAndCharacterOfPosition(found.start ?? 0).line + 1}`
    return `${name}${line}: ${ts.flattenDiagnosticMessageText(found.messageText, " ")}`
  })
}

describe.each<[string, ts.CompilerOptions]>([
  ["standard decorators", {}],
  ["legacy decorators, with metadata", { experimentalDecorators: true, emitDecoratorMetadata: true }],
  ["less strict optional properties", { exactOptionalPropertyTypes: false, noUncheckedIndexedAccess: false }],
])("%s", (_, settings) => {
  test("tasks.ts compiles, and every expected error is one", { timeout: 120_000 }, () => {
    expect(check("tasks.ts", settings)).toEqual([])
  })
})
