/** The types of bench/, with those of the peers' packages; only where these are installed (`npm ci --prefix bench`), since the library has no need of them. */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
if (!existsSync(`${root}bench/node_modules/graphile-worker`)) console.log("bench is not installed: its types that need the peers' are not checked")
else {
  const { status } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "bench/tsconfig.json"], { cwd: root, stdio: "inherit" })
  process.exitCode = status ?? 1
}
