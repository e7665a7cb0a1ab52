/**
 * `npm run complete-lock`: after `npm install`, puts into package-lock.json (the library's, and the bench's) what npm leaves out when its registry does not carry the builds of a
 * package for other systems. `npm ci` refuses a lock without them, on every system; with them, each system fetches its own alone.
 *
 *     npm run complete-lock
 *     npm run complete-lock -- --verify     fails when something is missing, or the lock names the place of a download
 */
import { readFileSync, writeFileSync } from "node:fs"

const FILES = ["package-lock.json", "bench/package-lock.json"]
const PLATFORM =
  /(android|darwin|linux|win32|freebsd|netbsd|openbsd|openharmony|sunos|aix)-(arm64|arm|x64|ia32|ppc64|riscv64|s390x|loong64|mips64el)(?:-(\w+))?$/

const verify = process.argv.includes("--verify")
for (const file of FILES) complete(file)

function complete(file) {
  const lock = JSON.parse(readFileSync(file, "utf8"))
  const packages = lock.packages
  const complaints = []
  for (const [parent, entry] of Object.entries(packages)) {
    if (entry.resolved !== undefined) complaints.push(`${parent} has the address of a download; .npmrc keeps npm from writing it`)
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (packages[`${parent}/node_modules/${name}`] ?? packages[`node_modules/${name}`]) continue
      complaints.push(`${name}@${version}, a build of ${parent.replace(/^.*node_modules\//, "")}, is missing: run npm run complete-lock`)
      packages[`node_modules/${name}`] = platformEntry(name, version, entry)
    }
  }
  if (verify) {
    for (const complaint of complaints) console.error(`${file}: ${complaint}`)
    if (complaints.length > 0) process.exitCode = 1
    return
  }
  // In npm's own order.
  lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, "en")))
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
}

function platformEntry(name, version, parent) {
  const [, os, cpu, abi = ""] = PLATFORM.exec(name) ?? []
  if (os === undefined || !/^\d+\.\d+\.\d+/.test(version))
    throw new Error(`${name}@${version} names no system that is known here: teach scripts/complete-lock.mjs`)
  const libc = os !== "linux" ? undefined : /musl/.test(abi) ? ["musl"] : /gnu/.test(abi) ? ["glibc"] : undefined
  return { version, cpu: [cpu], ...(parent.dev ? { dev: true } : {}), ...(libc ? { libc } : {}), license: parent.license, optional: true, os: [os] }
}
