/** `npm run build`: dist/, from nothing, so that no file of yesterday is published. */
import { spawnSync } from "node:child_process"
import { rmSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { bundlePgListen } from "./bundle-pg-listen.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
rmSync(`${root}dist`, { recursive: true, force: true })
// Without source maps: the output is the source without its types, and reads as well.
const { status } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json", "--sourceMap", "false"], {
  cwd: root,
  stdio: "inherit",
})
if (status === 0) await bundlePgListen(root, "dist/src/postgres/notify/pg-listen.js")
process.exitCode = status ?? 1
