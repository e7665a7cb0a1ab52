/** Finding Markdown files, and counting what is in one. No database here: the jobs and the check at the end share it. */
import { createHash } from "node:crypto"
import { readdir } from "node:fs/promises"
import { join, sep } from "node:path"
import type { Counts } from "./types.js"

/** Paths of the Markdown files below a folder, in order. Links are not followed; hidden folders right below it (caches) are left out. */
export async function findMarkdown(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && /\.(md|markdown)$/i.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(
      (path) =>
        !path
          .slice(folder.length)
          .replace(/^[\\/]/, "")
          .startsWith("."),
    )
    .sort()
}

/** Words are what stands between blanks; headings and links count outside of fenced code. */
export function countMarkdown(content: Buffer): Counts {
  const text = content.toString("utf8")
  let headings = 0
  let links = 0
  let fence: string | undefined
  for (const line of text.split(/\r?\n/)) {
    const mark = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line)
    if (fence !== undefined) {
      if (mark !== null && mark[1]!.startsWith(fence) && mark[2]!.trim() === "") fence = undefined
    } else if (mark !== null) fence = mark[1]!
    else {
      if (/^ {0,3}#{1,6}(\s|$)/.test(line)) headings++
      links += linksOf(line)
    }
  }
  const sha256 = createHash("sha256").update(content).digest("hex")
  return { bytes: content.length, words: text.match(/\S+/g)?.length ?? 0, headings, links, sha256 }
}

/** `[text](target)` and `<https://…>`; images are none, a linked image is one. */
function linksOf(line: string): number {
  const withoutImages = line.replace(/!\[[^[\]]*\]\([^()]*\)/g, "")
  return (withoutImages.match(/\[[^[\]]*\]\([^()]*\)|<https?:\/\/[^<>\s]+>/g) ?? []).length
}

/** The package that a file below node_modules belongs to: `…/node_modules/@scope/name/docs/a.md` → `@scope/name`. */
export function packageOf(path: string): string {
  const parts = path.split(sep)
  const at = parts.lastIndexOf("node_modules") + 1
  return parts.slice(at, at + (parts[at]?.startsWith("@") ? 2 : 1)).join("/")
}
