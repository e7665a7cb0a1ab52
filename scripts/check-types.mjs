/**
 * The types of all that is written in TypeScript, in one program (each of them alone would read the sources again), remembering what has not
 * changed since the last time. What src and migrations export says its type besides, as the build asks for (`isolatedDeclarations`).
 */
import { relative } from "node:path"
import ts from "typescript"

const { config } = ts.readConfigFile("tsconfig.check.json", ts.sys.readFile)
const { options, fileNames, errors } = ts.parseJsonConfigFileContent(config, ts.sys, process.cwd(), { declaration: true, isolatedDeclarations: true })
const program = ts.createIncrementalProgram({ rootNames: fileNames, options, configFileParsingDiagnostics: errors })

const published = (file) => /^(src|migrations)\//.test(relative(process.cwd(), file.fileName))
const diagnostics = [
  ...program.getConfigFileParsingDiagnostics(),
  ...program.getOptionsDiagnostics(),
  ...program.getSyntacticDiagnostics(),
  ...program.getGlobalDiagnostics(),
  ...program.getSemanticDiagnostics(),
  ...program
    .getSourceFiles()
    .filter(published)
    .flatMap((file) => program.getDeclarationDiagnostics(file)),
]
// Writes what it remembers, nothing else.
program.emit()
if (diagnostics.length > 0) {
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: ts.sys.getCurrentDirectory, getNewLine: () => "\n" }
  console.error(ts.formatDiagnostics(ts.sortAndDeduplicateDiagnostics(diagnostics), host).trim())
  process.exitCode = 1
}
