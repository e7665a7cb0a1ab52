import { DrizzleQueryError } from "drizzle-orm/errors"
import pg from "pg"
import { QueryFailedError } from "typeorm"
import { afterAll, beforeAll, expect, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { sqlStateOf } from "../../src/postgres/run/sqlstate.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { PrismaClientKnownRequestError } from "./transaction-clients/prisma-shape.js"

let db: TestDatabase
let duplicate: Error
beforeAll(async () => {
  db = await createDatabase({ migrated: false })
  await db.query("create table t (n integer primary key)")
  await db.query("insert into t values (1)")
  duplicate = await db.query("insert into t values (1)").then(
    () => expect.unreachable(),
    (error) => error,
  )
  expect(duplicate).toBeInstanceOf(pg.DatabaseError)
})
afterAll(() => db.close())

const wrapped = (inner: unknown, key = "cause"): object => Object.assign(new Error("wrapped"), { [key]: inner })

test("the error of the driver, and wrapped by each library", () => {
  expect(sqlStateOf(duplicate)).toBe("23505")
  expect(sqlStateOf(new DrizzleQueryError("insert", [], duplicate))).toBe("23505")
  expect(sqlStateOf(new QueryFailedError("insert", [], duplicate))).toBe("23505")
  expect(sqlStateOf(new ConnectionError("no", { cause: duplicate }))).toBe("23505")
  for (const key of ["cause", "driverError", "originalError", "original", "parent", "previous"])
    expect(sqlStateOf(wrapped(duplicate, key))).toBe("23505")
  expect(sqlStateOf(wrapped(wrapped(wrapped(duplicate, "driverError"), "originalError")))).toBe("23505")
  expect(sqlStateOf(new AggregateError([new Error("other"), duplicate]))).toBe("23505")
})

test("Prisma's own codes are no SQLSTATE; what it keeps of the database's is", () => {
  const prisma = (code: string, meta: Record<string, unknown>): Error => new PrismaClientKnownRequestError("Raw query failed", code, meta)
  expect(sqlStateOf(prisma("P2028", {}))).toBeUndefined()
  expect(sqlStateOf(prisma("P2010", { code: "40001", message: "could not serialize access" }))).toBe("40001")
  expect(sqlStateOf(prisma("P2002", { driverAdapterError: wrapped({ originalCode: "23505", kind: "UniqueConstraintViolation" }) }))).toBe("23505")
})

test("the nearest counts", () => {
  expect(sqlStateOf(Object.assign(new Error("outer"), { code: "40001", cause: duplicate }))).toBe("40001")
  expect(sqlStateOf(wrapped(Object.assign(new Error("inner"), { code: "40P01", cause: duplicate })))).toBe("40P01")
})

test("codes of other kinds are passed over", () => {
  for (const code of ["EPIPE", "EPERM", "ECONNREFUSED", "ERR_INVALID_ARG_TYPE", "23505 ", "abcde", 23505, "", null]) {
    expect(sqlStateOf(Object.assign(new Error("x"), { code }))).toBeUndefined()
    expect(sqlStateOf(Object.assign(new Error("x"), { code, cause: duplicate }))).toBe("23505")
  }
  expect(sqlStateOf(Object.assign(new Error("x"), { code: "TU042" }))).toBe("TU042")
})

test("anything may be asked, a circle too", () => {
  const circle: Record<string, unknown> = { name: "a" }
  circle["cause"] = { name: "b", cause: circle, errors: [circle] }
  for (const value of [undefined, null, 1, "23505", {}, [], () => {}, circle]) expect(sqlStateOf(value)).toBeUndefined()
})
