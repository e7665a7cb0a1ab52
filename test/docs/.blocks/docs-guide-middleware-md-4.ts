import { configure, currentJob, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const whoAmI = task({ name: "who" }, async () => currentJob().headers["tenant"])
await tusk.migrate()

// Around every enqueue of this client.
tusk.onEnqueue(async (draft, next) => {
  draft.options = { ...draft.options, headers: { ...draft.options.headers, tenant: "acme" } }
  await next()
})
// Around every run in this client's workers.
tusk.use(async (job, next) => {
  console.log(`${job.task} begins`)
  try {
    return await next()
  } finally {
    console.log(`${job.task} ends`)
  }
})

await tusk.work({ onStart: () => console.log("worker starts"), onStop: () => console.log("worker has stopped") })
const job = await whoAmI.enqueue()
console.log(await job.result())
await tusk.close()
