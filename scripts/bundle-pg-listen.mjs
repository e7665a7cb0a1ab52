/**
 * Part of `npm run build`: puts pg-listen, and what it needs, into the one module that imports it. The package then depends on `pg` alone: pg-listen
 * uses our `pg` and not one that an application has installed beside it, and no bundler meets pg-format, which reads a file beside itself.
 * The licences of what is bundled go into dist/THIRD-PARTY-LICENSES.txt.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { join } from "node:path"
import { build } from "esbuild"

/** CommonJS modules ask for these; as ES modules they are `import`s, which every bundler and every loader understands. */
const PG = 'import pg from "pg"; export default pg; export const Client = function (config) { return new pg.Client(config) }'
const builtin = (name) => `export * from "node:${name}"; export { default } from "node:${name}"`
const RESERVED = "require(__dirname + '/reserved.js')"

const plugin = {
  name: "pg-listen",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^(node:)?(pg|supports-color|${builtinModules.join("|")})$`) }, ({ path, namespace }) => {
      return namespace === "outside" ? { path, external: true } : { path: path.replace(/^node:/, ""), namespace: "outside" }
    })
    onLoad({ filter: /./, namespace: "outside" }, ({ path }) => ({
      // debug looks for supports-color, which need not be there.
      contents: path === "pg" ? PG : path === "supports-color" ? "module.exports = undefined" : builtin(path),
    }))
    onLoad({ filter: /pg-format\/lib\/index\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8")
      if (text.split(RESERVED).length !== 2) throw new Error("pg-format reads its file in another way now: see scripts/bundle-pg-listen.mjs")
      return { contents: text.replace(RESERVED, 'require("./reserved.js")') }
    })
  },
}

/** Replaces `file`, a compiled module, by itself with its packages inside. */
export async function bundlePgListen(root, file) {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [file],
    outfile: file,
    write: false,
    metafile: true,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "es2022",
    // Without the half of it that is for browsers.
    alias: { debug: "debug/src/node.js" },
    legalComments: "inline",
    logLevel: "warning",
    plugins: [plugin],
  })
  const [{ text }] = outputFiles
  // What no bundler could follow from here.
  const dynamic = /var __require\b|__dirname|import\.meta/.exec(text)
  if (dynamic !== null) throw new Error(`pg-listen's bundle contains ${dynamic[0]}`)
  writeFileSync(join(root, file), text)
  writeFileSync(join(root, "dist/THIRD-PARTY-LICENSES.txt"), licences(root, Object.keys(metafile.inputs)))
}

function licences(root, inputs) {
  const packages = new Set(inputs.flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []))
  const texts = [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"))
    const file = readdirSync(join(root, folder)).find((entry) => /^licen[cs]e(\.\w+)?$/i.test(entry))
    if (file === undefined) throw new Error(`${name} has no licence text`)
    return `${name} ${version} (${license})\n\n${readFileSync(join(root, folder, file), "utf8").trim()}\n`
  })
  return ["pgtusk contains parts of these packages.\n", ...texts].join(`\n${"-".repeat(80)}\n\n`)
}
