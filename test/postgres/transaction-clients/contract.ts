/** The one form that every supported client is brought to, so that a single test body serves all. */

/** A transaction of a client while it is open. */
export interface OpenTransaction {
  /** What an application gives as `tx`. */
  readonly tx: unknown
  /** The client's own way to insert into `notes`. */
  write(body: string): Promise<unknown>
  /** A savepoint around `work`, rolled back when it throws. */
  nested(work: (tx: unknown) => Promise<void>): Promise<unknown>
}

export interface OpenClient {
  /** Commits when `work` returns, rolls back and rejects when it throws. */
  transaction(work: (open: OpenTransaction) => Promise<void>): Promise<unknown>
  close(): Promise<unknown>
}

export interface SupportedClient {
  readonly name: string
  open(url: string): Promise<OpenClient>
  /** A bare client of pg cannot know that its transaction has ended. */
  readonly knowsEnd: boolean
  /** The client's (or the server's) own word for it, as the cause of our error. */
  readonly endCause?: RegExp
  /** postgres.js renames result columns, and keys of JSON in them, before anyone sees them. */
  readonly renames?: boolean
}

/** begin, commit and rollback by hand. */
export async function byHand(
  steps: { begin(): Promise<unknown>; commit(): Promise<unknown>; rollback(): Promise<unknown> },
  work: () => Promise<void>,
): Promise<void> {
  await steps.begin()
  try {
    await work()
    await steps.commit()
  } catch (error) {
    await steps.rollback()
    throw error
  }
}

/** A savepoint by hand, for clients without a form of their own. */
export function savepoint(run: (sql: string) => Promise<unknown>, work: () => Promise<void>): Promise<void> {
  return byHand(
    { begin: () => run("savepoint here"), commit: () => run("release savepoint here"), rollback: () => run("rollback to savepoint here") },
    work,
  )
}
