import { configure } from "pgtusk"

const tusk = configure({ connectionString: process.env["DATABASE_URL"]!, schema: "jobs" })
console.log((await tusk.migrate()).applied)
console.log((await tusk.migrate()).applied) // nothing left to do
await tusk.close()
