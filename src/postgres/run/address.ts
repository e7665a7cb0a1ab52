/** Reads what says where the database is. Whatever pg accepts is accepted; what pg would misread is refused; no message shows a password. */
import { inspect } from "node:util"
import pg from "pg"
import { InvalidOptionError } from "../../api/errors.js"
import { isA, isList } from "../../lib/option-checks.js"

export type ConnectionConfig = pg.ClientConfig

/** Where the database is: one server, or several of which one takes writes. */
export interface Address {
  /** What pg takes, one for each server, in the order in which they are tried. */
  readonly hosts: readonly ConnectionConfig[]
  /** Each new connection is asked whether its server takes writes, also where the server does not report it by itself. */
  readonly checked: boolean
  /** `target_session_attrs=read-write`: a primary whose transactions are read-only by default will not do either. */
  readonly readWrite: boolean
}

const EXAMPLE = '"postgres://user:password@host:5432/database"'
const ENCODING = "with user and password percent-encoded by encodeURIComponent()"

/**
 * The address that a connection string gives, or a list of them (one for each server).
 *
 * @throws InvalidOptionError
 */
export function parseAddress(given: string | readonly string[], field = "connectionString"): Address {
  if (!isList(given)) return addressOf(given as string, field)
  if (given.length === 0) throw new InvalidOptionError(`${field} is an empty list; write ${EXAMPLE}, or one for each server`)
  const each = given.map((text: string, i) => addressOf(text, `${field}[${i}]`))
  return {
    hosts: each.flatMap((one) => one.hosts),
    checked: given.length > 1 || each.some((one) => one.checked),
    readWrite: each.some((one) => one.readWrite),
  }
}

/** What pg itself reads when nobody tells it more; undefined when none of these variables is set. */
export function addressFromEnvironment(): Address | undefined {
  if (!["PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD"].some((name) => process.env[name])) return undefined
  const session = sessionAttributes(process.env["PGTARGETSESSIONATTRS"], "PGTARGETSESSIONATTRS")
  const hosts = hostList(process.env["PGHOST"] ?? "", process.env["PGPORT"] ?? "", "PGPORT").map(({ host, port }) => ({
    ...(host === "" ? {} : { host }),
    ...(port === "" ? {} : { port: Number(port) }),
  }))
  return { ...session, hosts, checked: session.checked || hosts.length > 1 }
}

/** Host, port and database, without secrets, for messages: `db1:5432,db2:5432/shop`. */
export function targetOf({ hosts }: Pick<Address, "hosts">): string {
  const clients = hosts.map(({ stream: _, ...config }) => new pg.Client(config))
  return `${clients.map((client) => `${client.host}:${client.port}`).join(",")}/${clients[0]?.database ?? ""}`
}

/** Schemes that mean Postgres to somebody; pg itself reads none. */
const SCHEME = /^(postg\w*|pg\w*|socket)(\+\w+)?:$/i

function addressOf(text: string, field: string): Address {
  const given: unknown = text
  if (typeof given !== "string") throw new InvalidOptionError(`${field} is ${kindOf(given)}; write a string, ${EXAMPLE}`)
  // pg's own short form of a socket: "/var/run/postgresql database".
  if (text.startsWith("/")) return checkedByPg(text, { hosts: [{ connectionString: text }], checked: false, readWrite: false }, field)
  const scheme = /^[a-z][a-z0-9+.-]*:(?=\/)/i.exec(text)?.[0]
  if (scheme === undefined) throw noUrl(text, field, keywords(text) === undefined ? "" : "node-postgres reads no keyword=value strings")
  if (!SCHEME.test(scheme)) throw new InvalidOptionError(`${field} begins with "${scheme}//"; write ${EXAMPLE}`)
  // socket:/folder?db=name
  if (!text.startsWith(`${scheme}//`) && !/^socket:$/i.test(scheme)) throw noUrl(text, field)
  const url = splitUrl(text)
  refuseMisread(url, text, field)
  const parameters = new URLSearchParams(url.query)
  if (parameters.has("service")) {
    throw new InvalidOptionError(`${field} names a service, and node-postgres reads no service files; write what stands in yours: ${EXAMPLE}`)
  }
  const session = sessionAttributes(parameters.get("target_session_attrs") ?? process.env["PGTARGETSESSIONATTRS"], `${field}: target_session_attrs`)
  const hosts = expand(url, parameters, text, field).map((connectionString) => ({ connectionString }))
  return checkedByPg(text, { ...session, hosts, checked: session.checked || hosts.length > 1 }, field)
}

/** A URL in its parts, as they stand there, since URL itself knows one host only. */
interface UrlParts {
  /** `postgres://` */
  readonly scheme: string
  /** `user:password@`, or nothing. */
  readonly user: string
  /** `host:5432`, with commas between several. */
  readonly hosts: string
  /** `/database` */
  readonly path: string
  /** Without its question mark. */
  readonly query: string
  /** With its #. */
  readonly hash: string
}

function splitUrl(text: string): UrlParts {
  const [, scheme = "", authority = "", path = "", query = "", hash = ""] =
    /^([^:]*:(?:\/\/)?)([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/s.exec(text) ?? []
  const at = authority.lastIndexOf("@") + 1
  return { scheme, user: authority.slice(0, at), hosts: authority.slice(at), path, query, hash }
}

/** A character of a password that ends the part of a URL in which it stands: pg would take the rest of the password for a database or a host. */
function refuseMisread({ user, hosts, path, query, hash }: UrlParts, text: string, field: string): void {
  if (hash !== "") throw noUrl(text, field, "It has a #: write %23")
  if (path.includes("@")) throw noUrl(text, field, "It has an @ behind a /: write %2F for the / of a password, and %40 for any other @ there")
  const strange =
    user === "" && hosts !== "" && [...new URLSearchParams(query)].some(([name, value]) => `${name}${value}`.includes("@") && !READ.has(name))
  if (strange) throw noUrl(text, field, "It has an @ behind a ?: write %3F for the ? of a password")
}
/** Parameters that may well have an @. */
const READ = new Set(["user", "password", "host", "options", "application_name", "fallback_application_name", "sslcert", "sslkey", "sslrootcert"])

/** One string for each host, as pg reads one only. */
function expand(url: UrlParts, parameters: URLSearchParams, text: string, field: string): string[] {
  const inAuthority = !parameters.get("host") && url.hosts !== ""
  const listed = inAuthority ? url.hosts : parameters.get("host") || (process.env["PGHOST"] ?? "")
  if (!listed.includes(",") || /^socket:/i.test(url.scheme)) return [rebuild(url)]
  const ports = parameters.get("port") ?? (inAuthority ? "" : (process.env["PGPORT"] ?? ""))
  return hostList(listed, ports, `${field}: port`).map(({ host, port }) => {
    const own = new URLSearchParams(parameters)
    const parts = inAuthority ? /^\[?([^:[\]]*|(?<=\[)[^[\]]*)\]?(?::(\d+))?$/.exec(host) : [host, host]
    if (parts === null) throw noUrl(text, field)
    own.set("host", parts[1]!)
    own.set("port", port || (parts[2] ?? ""))
    return rebuild({ ...url, hosts: "localhost", path: url.path || "/", query: `${own}`.replaceAll("+", "%20") })
  })
}

function rebuild({ scheme, user, hosts, path, query }: UrlParts): string {
  return `${scheme}${user}${hosts}${path}${query === "" ? "" : `?${query}`}`
}

/** As libpq reads them: as many ports as hosts, or one for all. */
function hostList(hosts: string, ports: string, field: string): { host: string; port: string }[] {
  const each = hosts.split(",").map((host) => host.trim())
  const port = ports === "" ? [] : ports.split(",").map((one) => one.trim())
  if (port.length > 1 && port.length !== each.length) {
    throw new InvalidOptionError(`${field} has ${port.length} ports for ${each.length} hosts; write one for all, or one for each`)
  }
  return each.map((host, i) => ({ host, port: port[i] ?? (port.length === 1 ? port[0]! : "") }))
}

/** pgtusk writes, so of libpq's values only those are of use that ask for a server which takes writes. */
function sessionAttributes(value: string | null | undefined, field: string): Pick<Address, "checked" | "readWrite"> {
  if (value === null || value === undefined || value === "") return { checked: false, readWrite: false }
  if (["any", "primary", "read-write"].includes(value)) return { checked: true, readWrite: value === "read-write" }
  const why = ["read-only", "standby", "prefer-standby"].includes(value) ? "pgtusk writes, and a standby takes no writes" : "that is no value of it"
  throw new InvalidOptionError(`${field} is ${JSON.stringify(value)}: ${why}; write "read-write" or "primary", or leave it out`)
}

/** It connects to nothing, but reads it all: percent signs, ports, and files with certificates. */
function checkedByPg(text: string, address: Address, field: string): Address {
  try {
    for (const config of address.hosts) {
      const { port } = new pg.Client(config)
      if (!(port > 0 && port <= 65_535)) throw noUrl(text, field)
    }
  } catch (error) {
    if (error instanceof InvalidOptionError) throw error
    if (error instanceof URIError) throw new InvalidOptionError(`${field} ${redacted(text)} has a % that encodes nothing; ${ENCODING}`)
    if ((error as { code?: unknown }).code === "ERR_INVALID_URL") throw noUrl(text, field)
    throw new InvalidOptionError(`${field} ${redacted(text)} cannot be used: ${(error as Error).message}`)
  }
  return address
}

function noUrl(text: string, field: string, hint = ""): InvalidOptionError {
  return new InvalidOptionError(`${field} is ${redacted(text)}, which is no URL; write ${EXAMPLE}, ${ENCODING}${hint === "" ? "" : `. ${hint}`}`)
}

/** A value that is no string, without what is inside of it. */
function kindOf(value: unknown): string {
  if (typeof value === "function") return "a function"
  if (typeof value !== "object" || value === null) return inspect(value)
  if (isA(value, URL)) return "a URL object (its href is one)"
  if (isList(value)) return "a list"
  try {
    return Object.keys(value).length === 0 ? "{}" : "an object"
  } catch {
    return "an object"
  }
}

/** What may be shown of a text that should have been a connection string: only what surely is no part of a password. */
function redacted(text: string): string {
  const shown = publicPart(text)
  return JSON.stringify(shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown)
}
const MAX_SHOWN = 200

function publicPart(text: string): string {
  const pairs = keywords(text)
  if (pairs !== undefined) return pairs.map(([name, value]) => `${name}=${SHOWN.has(name) && /^[\w./-]*$/.test(value) ? value : "***"}`).join(" ")
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0] ?? ""
  const rest = text.slice(scheme.length)
  const at = rest.lastIndexOf("@")
  // An @ behind a question mark may stand in a parameter, and whatever is before or behind it in a password.
  if (at !== -1 && at > rest.indexOf("?") && rest.includes("?")) return `${scheme}***`
  const place = rest.slice(at + 1).replace(/[?#].*$/s, "")
  const secret = at === -1 ? "" : "***@"
  return `${scheme}${secret}${/^[\w.,[\]-]*(:\d{1,5})?(\/[\w.-]*)*$/.test(place) ? place : "***"}`
}
const SHOWN = new Set(["host", "hostaddr", "port", "dbname", "user", "sslmode"])

/** The pairs of a keyword=value string of libpq's; undefined for any other text. */
function keywords(text: string): [string, string][] | undefined {
  const pair = /\s*(\w+)\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|[^\s'\\])*)\s*/gsy
  const pairs: [string, string][] = []
  while (pair.lastIndex < text.length) {
    const at = pair.lastIndex
    const found = pair.exec(text)
    if (found === null || pair.lastIndex === at) return undefined
    pairs.push([found[1]!.toLowerCase(), found[2]!])
  }
  return pairs.length === 0 ? undefined : pairs
}
