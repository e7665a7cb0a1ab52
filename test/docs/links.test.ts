/** What the manual points to is there. */
import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { pages, read } from "../../scripts/docs-examples.mjs"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Prose: without fenced blocks and, where it is not about paths, without inline code. */
function prose(page: string): string {
  return read(page).replace(/^ *```[\s\S]*?^ *```$/gm, "")
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...prose(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  )
}

describe.each(pages())("%s", (page) => {
  test("its links lead to pages and headings", () => {
    const broken = [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]) => target!)
      .filter((target) => !/^https?:/.test(target))
      .filter((target) => {
        const [path = "", anchor] = target.split("#")
        const file = path === "" ? page : join(dirname(page), path)
        return !existsSync(join(root, file)) || (anchor !== undefined && !anchorsOf(file).includes(anchor))
      })
    expect(broken).toEqual([])
  })

  test("the files that it names exist", () => {
    const named = [...prose(page).matchAll(/`((?:src|sql|test|migrations|scripts|examples)\/[\w./-]+\.\w+)`/g)].map(([, path]) => path!)
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([])
  })
})

test("the README leads to every page", () => {
  const linked = [...prose("README.md").matchAll(/\]\(([^)#\s]+)/g)].map(([, target]) => target!)
  expect(pages().filter((page) => page !== "README.md" && !linked.includes(page))).toEqual([])
})
