/** A handler whose writes, follow-up jobs and completion commit together: run twice, it still counts once. */
import assert from "node:assert/strict"
import { configure, currentJob, task } from "pgtusk"

const url = process.env.DATABASE_URL
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })
await tusk.migrate()
await tusk.transaction((tx) => tx.query("create table example_balance (account text primary key, cents integer not null)"))

const notify = task({ name: "accounts.notify" }, async (account: string, cents: number) => `${account} got ${cents} cents`)

const deposit = task({ name: "accounts.deposit", transactional: true, retries: 2, backoff: 0 }, async (account: string, cents: number) => {
  const { tx, attempt } = currentJob()
  await tx.query("insert into example_balance values ($1, $2) on conflict (account) do update set cents = example_balance.cents + excluded.cents", [
    account,
    cents,
  ])
  const notice = await notify.with({ tx }).enqueue(account, cents)
  // Neither the money nor the notice of this attempt remains.
  if (attempt === 1) throw new Error("the power went out")
  return notice.id
})

await tusk.work()
const job = await deposit.enqueue("ada", 500)
const notice = tusk.job<string>(await job.result({ timeout: "30s" }))
console.log(await notice.result({ timeout: "30s" }))

const { rows } = await tusk.transaction((tx) => tx.query<{ cents: number }>("select cents from example_balance"))
assert.deepEqual(rows, [{ cents: 500 }])
assert.equal((await tusk.jobs({ task: "accounts.notify" })).jobs.length, 1)
assert.equal((await job.snapshot()).attempt, 2)

await tusk.transaction((tx) => tx.query("drop table example_balance"))
await tusk.close()
