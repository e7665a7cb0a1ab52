/** Whoever hovers over a public name in an editor reads what it is. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { expect, test } from "vitest"

const root = fileURLToPath(new URL("../../", import.meta.url))
const files = [
  ...readdirSync(`${root}src/api`).map((name) => `src/api/${name}`),
  "src/tusk.ts",
  "src/task/methods.ts",
  "src/task/task-ref.ts",
  "src/flows/flow.ts",
]

/** Exported names of a file, and public members of its types and classes, that have no doc comment. What the class says of a constructor, of its own `name` and of what the language names is enough. */
function undocumented(file: string, text = readFileSync(root + file, "utf8")): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const silent = (node: ts.Node): boolean => ts.getJSDocCommentsAndTags(node).length === 0
  const found: string[] = []
  for (const statement of source.statements) {
    const named = statement as ts.Statement & { name?: ts.Identifier; members?: ts.NodeArray<ts.TypeElement | ts.ClassElement> }
    const exported = ts.canHaveModifiers(statement) && ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)
    if (!exported || named.name === undefined) continue
    if (silent(statement) && !ts.isFunctionDeclaration(statement)) found.push(`${file}: ${named.name.text}`)
    for (const member of named.members ?? []) {
      const name = member.name?.getText() ?? "()"
      const hidden =
        ts.isConstructorDeclaration(member) ||
        ts.isClassStaticBlockDeclaration(member) ||
        /^[#[]/.test(name) ||
        (ts.isClassDeclaration(statement) && name === "name")
      if (!hidden && silent(member)) found.push(`${file}: ${named.name.text}.${name}`)
    }
  }
  return found
}

test("every public type, and each of its members, has a doc comment", () => {
  expect(files.flatMap((file) => undocumented(file))).toEqual([])
})

test("one that has none is found", () => {
  expect(undocumented("x.ts", "export interface A {\n  b: string\n  /** It. */\n  c(): void\n}")).toEqual(["x.ts: A", "x.ts: A.b"])
})
