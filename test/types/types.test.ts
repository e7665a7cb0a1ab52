import { basename, dirname } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { describe, expect, test } from "vitest"

const configFile = fileURLToPath(new URL("../tsconfig.json", import.meta.url))
const { options: ours } = ts.parseJsonConfigFileContent(ts.readConfigFile(configFile, ts.sys.readFile).config, ts.sys, dirname(configFile))

// Parsing the libraries takes most of the time: once for all settings.
const parsed = new Map<string, ts.SourceFile | undefined>()

/** What tsc says about files of this folder, with the repository's own settings but for these. */
function check(names: readonly string[], settings: ts.CompilerOptions): string[] {
  const paths = names.map((name) => fileURLToPath(new URL(name, import.meta.url)))
  const options = { ...ours, ...settings }
  const host = ts.createCompilerHost(options)
  const parse = host.getSourceFile
  host.getSourceFile = (file, ...rest) => {
    if (!parsed.has(file)) parsed.set(file, parse(file, ...rest))
    return parsed.get(file)
  }
  const program = ts.createProgram(paths, options, host)
  const sources = paths.map((path) => program.getSourceFile(path))
  const found = [
    ...program.getOptionsDiagnostics(),
    ...sources.flatMap((source) => [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]),
  ]
  return found.map(({ file, start, messageText }) => {
    const place = file === undefined ? "" : `${basename(file.fileName)}:${file.getLineAndCharacterOfPosition(start ?? 0).line + 1}: `
    return place + ts.flattenDiagnosticMessageText(messageText, " ")
  })
}

describe.each<[string, ts.CompilerOptions]>([
  ["standard decorators", {}],
  ["legacy decorators, with metadata", { experimentalDecorators: true, emitDecoratorMetadata: true }],
  ["less strict optional properties", { exactOptionalPropertyTypes: false, noUncheckedIndexedAccess: false }],
])("%s", (_, settings) => {
  test("the files compile, and every expected error is one", { timeout: 120_000 }, () => {
    expect(check(["tasks.ts", "client.ts"], settings)).toEqual([])
  })
})
