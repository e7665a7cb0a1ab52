/** What the parts of the demo tell each other. */

/** What is counted in one Markdown file. */
export interface Counts {
  readonly bytes: number
  readonly words: number
  readonly headings: number
  readonly links: number
  readonly sha256: string
}

/** A row of demo.files: what the job of one file wrote. `runs` grows by one with each transaction that wrote it. */
export interface FileRow extends Counts {
  readonly path: string
  readonly runs: number
  /** The job that the same transaction enqueued. */
  readonly next_job: string
}

/** A row of demo.tallies: that a file was added to its package's sums. */
export interface TallyRow {
  readonly path: string
  readonly runs: number
}

/** A row of demo.packages: sums that grow by each file's counts, so that a file counted twice shows. */
export interface PackageRow {
  readonly name: string
  readonly files: number
  readonly words: number
  readonly headings: number
  readonly links: number
}

/** A row of demo.notes: that a job without a file ran. */
export interface NoteRow {
  readonly job_id: string
  readonly runs: number
}

/** How a job is to end. */
export type End = "completed" | "expired"

/** A job as it stands in tusk.jobs or tusk.finished_jobs. */
export interface StoredJob {
  readonly id: string
  readonly task: string
  readonly state: string
  readonly attempt: number
}
