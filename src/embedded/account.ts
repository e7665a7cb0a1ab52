/** Who the server runs as. Postgres refuses to run as root, so root's server belongs to another user. */
import { execFile } from "node:child_process"
import { stat } from "node:fs/promises"
import { dirname } from "node:path"
import { promisify } from "node:util"
import { ConnectionError } from "../api/errors.js"

const run: (file: string, args: string[]) => Promise<{ stdout: string }> = promisify(execFile)

/** The ids for `spawn`; empty when the server runs as whoever we are. */
export type Account = { readonly uid: number; readonly gid: number } | { readonly uid?: never; readonly gid?: never }

/** As root: the owner of the cluster that is there, else the user `postgres` (made if it can be), else `nobody`. Otherwise ourselves. */
export async function serverAccount(cluster: string): Promise<Account> {
  if (process.getuid?.() !== 0) return {}
  const owner = await stat(cluster).catch(() => undefined)
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid }
  const known = await lookUp("postgres")
  if (known !== undefined) return known
  // A system without useradd (or with a read-only /etc) still has nobody, which initdb accepts as well as any.
  await run("useradd", ["--system", "--user-group", "--no-create-home", "postgres"]).catch(() => {})
  const account = (await lookUp("postgres")) ?? (await lookUp("nobody"))
  if (account === undefined) {
    throw new ConnectionError(
      "embedded Postgres cannot run as root, and neither a user postgres nor nobody exists; add one with: useradd --system postgres",
    )
  }
  return account
}

async function lookUp(name: string): Promise<{ uid: number; gid: number } | undefined> {
  try {
    const [uid, gid] = await Promise.all([run("id", ["-u", name]), run("id", ["-g", name])])
    return { uid: Number.parseInt(uid.stdout, 10), gid: Number.parseInt(gid.stdout, 10) }
  } catch {
    return undefined
  }
}

/** The highest folder on the way to `path` that the account may not enter; undefined if the way is free (or the account is ours). */
export async function blockedAt(path: string, account: Account): Promise<string | undefined> {
  if (account.uid === undefined) return undefined
  const way: string[] = []
  for (let folder = path; way[0] !== folder; folder = dirname(folder)) way.unshift(folder)
  for (const folder of way) {
    const at = await stat(folder).catch(() => undefined)
    if (at === undefined) return undefined
    const enter = at.uid === account.uid ? 0o100 : at.gid === account.gid ? 0o010 : 0o001
    if ((at.mode & enter) === 0) return folder
  }
  return undefined
}
