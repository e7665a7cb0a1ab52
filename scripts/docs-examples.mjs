/**
 * The TypeScript of README.md and docs/: every block is type-checked, and those marked `run` are programs that test/docs runs.
 *
 *     node scripts/docs-examples.mjs            checks the types of all pages
 *     node scripts/docs-examples.mjs --list     shows what each page holds
 *
 * How blocks are marked, behind the language of the fence:
 *
 *     ```ts                      checked. The blocks of a page are read in order; each sees the names of those before it, and may take one anew.
 *     ```ts run                  a whole program; it also runs against a database. A ```text block after it (but for ```sh) is what it prints.
 *     ```js run                  the same in plain JavaScript; it only runs.
 *     ```ts no-check <reason>    left alone
 *
 * Names that a page does not make itself (tusk, sendEmail, job, …) are in docs-prelude.d.ts, and so is all that pgtusk exports.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("..", import.meta.url))
const prelude = join(root, "scripts/docs-prelude.d.ts")

/** Paths of the pages, from the repository's root. */
export function pages() {
  const inDocs = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name))
  return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ...inDocs.sort()]
}

export function read(page) {
  return readFileSync(join(root, page), "utf8")
}

/** The fenced blocks of a page. `line` is the first line of the code, counted from 1. */
export function blocksOf(page) {
  const lines = read(page).split("\n")
  const found = []
  for (let i = 0; i < lines.length; i++) {
    const fence = /^( *)```(\w*) *(.*)$/.exec(lines[i])
    if (fence === null) continue
    const [, indent, language, mark] = fence
    const end = lines.findIndex((line, at) => at > i && line.trim() === "```")
    if (end === -1) throw new Error(`${page}:${i + 1}: the block is not closed`)
    const code = lines.slice(i + 1, end).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line))
    found.push({ page, line: i + 2, endLine: end + 1, language, mark: mark.trim(), code: `${code.join("\n")}\n` })
    i = end
  }
  return found
}

/** The programs among the blocks, each with the text that it is to print (undefined: the page does not say). */
export function programs() {
  return pages().flatMap((page) => {
    const blocks = blocksOf(page)
    return blocks
      .filter(({ mark }) => mark === "run")
      .map((block) => {
        // Between the two may stand the command that runs it.
        const next = blocks.find(({ line, language }) => line > block.line && language !== "sh")
        return { ...block, output: next?.language === "text" ? next.code : undefined }
      })
  })
}

/** A page's blocks as one module, with the line of the page that each of its lines comes from. */
function moduleOf(page) {
  const imports = new Map()
  const body = []
  const lineMap = []
  const blocks = blocksOf(page).filter(({ language, mark }) => language === "ts" && !mark.startsWith("no-check"))
  for (const block of blocks) {
    body.push("{")
    lineMap.push(block.line)
    const source = ts.createSourceFile("block.ts", block.code, ts.ScriptTarget.Latest, true)
    let { code } = block
    const blank = (start, end, instead = "") => {
      const cut = code.slice(start, end)
      // Lines and columns stay, so that errors name the right place.
      code = code.slice(0, start) + instead + cut.slice(instead.length).replace(/[^\n]/g, " ") + code.slice(end)
    }
    for (const statement of source.statements) {
      const start = statement.getStart(source)
      if (ts.isImportDeclaration(statement)) {
        blank(start, statement.end)
        collectImports(statement, imports)
      } else if (ts.isExportAssignment(statement)) blank(start, statement.expression.getStart(source), "exported =")
      else if (ts.canHaveModifiers(statement)) {
        const word = statement.modifiers?.find(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
        if (word !== undefined) blank(word.getStart(source), word.end)
      }
    }
    for (const [i, line] of code.trimEnd().split("\n").entries()) {
      body.push(line)
      lineMap.push(block.line + i)
    }
  }
  const head = [...imports].map(([from, names]) => importText(from, names)).join("; ")
  return { text: `${head}\n${body.join("\n")}\n${"}".repeat(blocks.length)}\nexport {}\n`, lineMap: [1, ...lineMap], blocks: blocks.length }
}

/** Imports of the page's own files are left out: their names come from the blocks before. */
function collectImports(statement, imports) {
  const from = statement.moduleSpecifier.text
  if (from.startsWith(".")) return
  const names = imports.get(from) ?? new Map()
  imports.set(from, names)
  const clause = statement.importClause
  if (clause === undefined) return
  if (clause.name !== undefined) names.set(clause.name.text, "default")
  const bindings = clause.namedBindings
  if (bindings === undefined) return
  if (ts.isNamespaceImport(bindings)) names.set(bindings.name.text, "*")
  else {
    for (const element of bindings.elements) {
      const typeOnly = clause.isTypeOnly || element.isTypeOnly
      const local = element.name.text
      // Once imported as a value, it serves as a type as well.
      if (!(typeOnly && names.has(local))) names.set(local, `${typeOnly ? "type " : ""}${element.getText().replace(/^type /, "")}`)
    }
  }
}

function importText(from, names) {
  const of = (kind) => [...names].filter(([, value]) => value === kind).map(([local]) => local)
  const texts = [...of("default").map((local) => `import ${local} from "${from}"`), ...of("*").map((local) => `import * as ${local} from "${from}"`)]
  const named = [...names.values()].filter((value) => value !== "default" && value !== "*")
  if (named.length > 0) texts.push(`import { ${named.join(", ")} } from "${from}"`)
  if (texts.length === 0) texts.push(`import "${from}"`)
  return texts.join("; ")
}

/** What the type checker says about all pages: `README.md:42: …`. */
export function checkTypes() {
  const virtual = new Map()
  for (const page of pages()) {
    const unit = moduleOf(page)
    if (unit.blocks > 0) virtual.set(join(root, "test/docs", `${page.replace(/[/.]/g, "-")}.ts`), { ...unit, page })
  }
  const config = ts.readConfigFile(join(root, "test/tsconfig.json"), ts.sys.readFile).config
  const options = {
    ...ts.parseJsonConfigFileContent(config, ts.sys, join(root, "test")).options,
    noEmit: true,
    noUnusedLocals: false,
    noUnusedParameters: false,
  }
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists } = host
  host.getSourceFile = (name, version, ...rest) => {
    const unit = virtual.get(name)
    return unit === undefined ? getSourceFile(name, version, ...rest) : ts.createSourceFile(name, unit.text, version, true)
  }
  host.fileExists = (name) => virtual.has(name) || fileExists(name)
  const program = ts.createProgram([...virtual.keys(), prelude], options, host)
  const wanted = [...virtual.keys(), prelude].map((name) => program.getSourceFile(name))
  return wanted
    .flatMap((source) => [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)])
    .map(({ file, start, messageText }) => {
      const message = ts.flattenDiagnosticMessageText(messageText, " ")
      const line = file.getLineAndCharacterOfPosition(start).line
      const unit = virtual.get(file.fileName)
      return unit === undefined ? `${relative(root, file.fileName)}:${line + 1}: ${message}` : `${unit.page}:${unit.lineMap[line] ?? "?"}: ${message}`
    })
}

/** Blocks whose marks are none, and those that are left alone without a reason. */
export function wrongMarks() {
  return pages()
    .flatMap(blocksOf)
    .filter(({ language, mark }) => {
      if (language === "ts") return !(mark === "" || mark === "run" || /^no-check \S+ \S+/.test(mark))
      return !(mark === "" || (language === "js" && mark === "run"))
    })
    .map(({ page, line, language, mark }) => `${page}:${line - 1}: \`\`\`${language} ${mark}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  if (process.argv.includes("--list")) {
    for (const page of pages()) {
      const blocks = blocksOf(page).filter(({ language }) => language === "ts" || language === "js")
      console.log(`${page}: ${blocks.length} blocks, ${blocks.filter(({ mark }) => mark === "run").length} run`)
    }
  } else {
    const faults = [...wrongMarks(), ...checkTypes()]
    for (const fault of faults) console.error(fault)
    console.log(faults.length === 0 ? "docs: every example compiles" : `docs: ${faults.length} faults`)
    process.exitCode = faults.length === 0 ? 0 : 1
  }
}
