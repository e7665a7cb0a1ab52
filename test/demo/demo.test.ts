/** The parts of the demo that decide: its counting, and the check that is to find whatever is lost or done twice. CI runs the demo itself. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, sep } from "node:path"
import { expect, onTestFinished, test } from "vitest"
import { countMarkdown, findMarkdown, packageOf } from "../../examples/demo/markdown.js"
import { drawBar, table } from "../../examples/demo/screen.js"
import type { Counts, End, FileRow, NoteRow, PackageRow, StoredJob, TallyRow } from "../../examples/demo/types.js"
import { judge } from "../../examples/demo/verdict.js"

const count = (text: string): Counts => countMarkdown(Buffer.from(text))

test("words, headings and links are counted", () => {
  const text = "# Title\n\nSee [the docs](https://a.example) and <https://b.example>.\n\n   ###### Deep\n#no heading\n    # code\n"
  expect(count(text)).toMatchObject({ bytes: Buffer.byteLength(text), words: 13, headings: 2, links: 2 })
})

test("what stands in fenced code is neither heading nor link", () => {
  expect(count("```sh\n# comment\n[a](b)\n~~~\n```\n# after\n")).toMatchObject({ headings: 1, links: 0 })
  // A longer fence is not closed by a shorter one, and one that stays open lasts to the end.
  expect(count("````\n```\n# still code\n````\n~~~\n# open\n")).toMatchObject({ headings: 0, links: 0 })
})

test("an image is no link, a linked image is one", () => {
  expect(count("![logo](a.png)")).toMatchObject({ links: 0 })
  expect(count("[![build](a.svg)](https://ci.example) [x](y)")).toMatchObject({ links: 2 })
})

test("an empty file has nothing in it, and the hash of nothing", () => {
  const sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  expect(count("")).toEqual({ bytes: 0, words: 0, headings: 0, links: 0, sha256 })
})

test("the hash is that of the bytes, also where they are no text", () => {
  const [a, b] = [countMarkdown(Buffer.from([0xff])), countMarkdown(Buffer.from([0xfe]))]
  expect(a.bytes).toBe(1)
  expect(a.sha256).not.toBe(b.sha256)
})

test("Markdown files are found below a folder; caches and links are left out", async () => {
  const folder = await mkdtemp(join(tmpdir(), "demo-files-"))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  for (const path of ["b/README.MD", "a/x.md", "a/docs/y.markdown", "a/z.txt", ".cache/c.md"]) {
    await mkdir(join(folder, path, ".."), { recursive: true })
    await writeFile(join(folder, path), "# x\n")
  }
  await symlink(join(folder, "a/x.md"), join(folder, "a/link.md"))
  expect(await findMarkdown(folder)).toEqual(["a/docs/y.markdown", "a/x.md", "b/README.MD"].map((path) => join(folder, path)))
})

test("a file belongs to the innermost package", () => {
  const of = (path: string): string => packageOf(path.replaceAll("/", sep))
  expect(of("/x/node_modules/pg/README.md")).toBe("pg")
  expect(of("/x/node_modules/@types/node/docs/a.md")).toBe("@types/node")
  expect(of("/x/node_modules/a/node_modules/b/c.md")).toBe("b")
})

test("the bar stays in its bounds, and a table is aligned", () => {
  expect(drawBar(0)).toBe("░".repeat(30))
  expect(drawBar(7)).toBe("█".repeat(30))
  expect(drawBar(0.5)).toBe("█".repeat(15) + "░".repeat(15))
  const rows: [string, string][] = [
    ["a", "1"],
    ["long", "2"],
  ]
  expect(table(rows)).toEqual(["  a      1", "  long   2"])
})

interface Run {
  files: FileRow[]
  tallies: TallyRow[]
  packages: PackageRow[]
  notes: NoteRow[]
  jobs: StoredJob[]
}

const [a, b] = ["/n/node_modules/p/a.md", "/n/node_modules/p/b.md"].map((path) => path.replaceAll("/", sep)) as [string, string]
const [countsA, countsB] = [count("# one\n"), count("two words [l](m)\n")]
const ends: [string, End][] = [
  ["count-a", "completed"],
  ["count-b", "completed"],
  ["note", "completed"],
  ["stale", "expired"],
]
const expected = { counts: new Map([[a, countsA] as const, [b, countsB] as const]), jobs: new Map(ends), notes: ["note"] }
const job = (id: string, state = "completed"): StoredJob => ({ id, task: "t", state, attempt: 1 })

/** What is left of a run in which all went well: two files of one package, a note, and a job that expired. */
const goodRun = (): Run => ({
  files: [
    { path: a, runs: 1, next_job: "tally-a", ...countsA },
    { path: b, runs: 1, next_job: "tally-b", ...countsB },
  ],
  tallies: [
    { path: a, runs: 1 },
    { path: b, runs: 1 },
  ],
  packages: [{ name: "p", files: 2, words: 5, headings: 1, links: 1 }],
  notes: [{ job_id: "note", runs: 1 }],
  jobs: [job("count-a"), job("count-b"), job("tally-a"), job("tally-b"), job("note"), job("stale", "expired")],
})

test("a run in which all went well has nothing lost, twice or wrong", () => {
  expect(judge(expected, goodRun())).toEqual({ jobs: 6, lost: [], twice: [], wrong: [] })
})

const faults: [string, "lost" | "twice" | "wrong", (run: Run) => void, RegExp][] = [
  ["a job that is nowhere", "lost", (run) => run.jobs.splice(2, 1), /tally-a is nowhere/],
  ["a job that is still active", "lost", (run) => run.jobs.splice(0, 1, job("count-a", "active")), /count-a is still active/],
  ["a file without its row", "lost", (run) => run.files.splice(0, 1), /a\.md was not counted/],
  ["a file without its tally", "lost", (run) => run.tallies.splice(1, 1), /b\.md was not tallied/],
  ["a note that is missing", "lost", (run) => run.notes.splice(0, 1), /note of job note is missing/],
  ["a job that is stored twice", "twice", (run) => run.jobs.push(job("count-a")), /count-a is stored twice/],
  ["a file that was counted twice", "twice", (run) => Object.assign(run.files[0]!, { runs: 2 }), /a\.md was counted 2 times/],
  ["a file that was tallied twice", "twice", (run) => Object.assign(run.tallies[0]!, { runs: 2 }), /a\.md was tallied 2 times/],
  ["a note that was left twice", "twice", (run) => Object.assign(run.notes[0]!, { runs: 2 }), /its note 2 times/],
  ["a job that nobody enqueued", "wrong", (run) => run.jobs.push(job("x")), /x was enqueued by nobody/],
  ["a job that failed", "wrong", (run) => run.jobs.splice(0, 1, job("count-a", "failed")), /count-a is failed, not completed/],
  ["a stale job that ran", "wrong", (run) => run.notes.push({ job_id: "stale", runs: 1 }), /stale ran and should not have/],
  ["a count that is off", "wrong", (run) => Object.assign(run.files[0]!, { words: 9 }), /a\.md: .*"words":9/],
  ["a sum that is off", "wrong", (run) => Object.assign(run.packages[0]!, { words: 7 }), /package p: .*"words":7/],
]

test.each(faults)("%s is found", (_, kind, spoil, message) => {
  const run = goodRun()
  spoil(run)
  expect(judge(expected, run)[kind].join("\n")).toMatch(message)
})
