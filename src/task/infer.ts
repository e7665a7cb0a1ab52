/**
 * How `task()` learns the types of the function that it gets.
 *
 * 1. Defaults without annotations (`body = ""`) must keep the types of their values, and they only do where nothing else suggests a type: under
 *    a constraint with parameters `any[]` they turn into any. So a plain function is inferred under `Function`, which suggests nothing, and one
 *    with `reportProgress` under parameters of type `never`, which a default beats.
 * 2. A function with such a default (or with an un-annotated `reportProgress`) is looked at after the options. When a function in the options
 *    then needs the arguments' types (`` deduplicate: (id) => `order-${id}` ``), the compiler would settle for the constraint itself. `Settled`
 *    makes that a mismatch, and the next overload takes over: functions in its options have parameters of type any, and are compared with the
 *    task's function afterwards (`Fits`).
 */
import type { DeduplicateOptions, StandardSchema, TaskOptions } from "../api/options.js"
import type { ReportProgress } from "../api/worker.js"

// biome-ignore lint/complexity/noBannedTypes: see 1
export type Plain = Function
export type WithReport = (report: ReportProgress, ...args: never[]) => unknown

/** The parameters of a function; those of the constraints stay `never[]`. */
export type Arguments<F> = F extends (...args: infer A) => unknown ? A : never[]
export type Result<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never
/** Without the first, which is injected. */
export type Tail<A> = A extends readonly [any, ...infer T] ? T : A extends readonly [] ? [] : A
/** Arguments as options see them: any, as long as they are not known. */
export type Known<A> = A extends readonly unknown[] ? (A extends readonly never[] ? (never[] extends A ? any[] : A) : A) : never

/** The function, unless nothing but its constraint is known of it (2). A class is no function. */
export type Settled<F> = Plain extends F ? never : WithReport extends F ? never : Callable<F>
type Callable<F> = F extends abstract new (...args: any) => unknown ? never : F

export type AnyKey = (...args: any[]) => string | DeduplicateOptions
/** Options with `deduplicate` of type D. */
export type OptionsWithKey<D> = Omit<TaskOptions, "progress" | "deduplicate"> & { deduplicate?: D }
/** The function, if D can be called with its arguments. */
export type Fits<F, D, A extends readonly unknown[]> = D extends (...args: A) => unknown ? Callable<F> : never

export type In<S> = S extends StandardSchema<infer I, any> ? I : never
export type Out<S> = S extends StandardSchema<any, infer O> ? O : never
