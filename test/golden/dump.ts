/**
 * A schema as text, from the catalog, for the golden file: whatever changes what migrations make shows up as a difference. The server that npm
 * carries has no pg_dump; and this text is the same on every supported major, on any day, and for any name of the schema.
 */
import type pg from "pg"

/** The rows of a catalog query; $1 is the schema unless told otherwise. */
type Read = (sql: string, parameter?: unknown) => Promise<any[]>

/** Days come and go; `finished_jobs` itself and its other partitions stay. */
const DAILY = "^finished_jobs_[0-9]{8}$"

/** Types, sequences, tables with their indexes, and the heads of functions of a schema, sorted by name. The schema itself reads `tusk`. */
export async function dumpSchema(client: Pick<pg.ClientBase, "query">, schema = "tusk"): Promise<string> {
  const read: Read = async (sql, parameter = schema) => (await client.query(sql, [parameter])).rows
  await refuseUnknownKinds(read)
  const parts = [...(await types(read)), ...(await sequences(read)), ...(await tables(read)), ...(await functions(read)), await meta(client, schema)]
  return `${parts.map((part) => withoutName(part.trim(), schema)).join("\n\n")}\n`
}

/** Also inside of a string literal, where single quotes are doubled. */
function withoutName(text: string, schema: string): string {
  const quoted = `"${schema.replaceAll('"', '""')}"`
  const plain = text.replaceAll(quoted, "tusk").replaceAll(quoted.replaceAll("'", "''"), "tusk")
  return /^[a-z_][a-z0-9_]*$/.test(schema) ? plain.replaceAll(`${schema}.`, "tusk.") : plain
}

/** A dump that overlooks something would be no proof. */
async function refuseUnknownKinds(read: Read): Promise<void> {
  const found = await read(`
    select c.relname as name, c.relkind as kind from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind not in ('r', 'p', 'i', 'I', 'S', 't')
    union all
    select p.proname, p.prokind from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = $1 and p.prokind not in ('f', 'p')
    union all
    select t.typname, t.typtype from pg_type t join pg_namespace n on n.oid = t.typnamespace where n.nspname = $1 and t.typtype in ('d', 'r')`)
  if (found.length > 0) throw new Error(`The dump does not know how to show ${found.map((f) => `${f.name} (kind ${f.kind})`).join(", ")}: teach it`)
}

/** The one row that migrations write. */
async function meta(client: Pick<pg.ClientBase, "query">, schema: string): Promise<string> {
  const { rows } = await client.query(`select version, min_version from "${schema.replaceAll('"', '""')}".meta`)
  return rows.map((row) => `-- meta: version ${row.version}, min_version ${row.min_version}`).join("\n")
}

async function types(read: Read): Promise<string[]> {
  const found = await read(`
    select format('%I.%I', n.nspname, t.typname) as name, array_agg(quote_literal(e.enumlabel) order by e.enumsortorder) as labels
    from pg_type t join pg_namespace n on n.oid = t.typnamespace join pg_enum e on e.enumtypid = t.oid
    where n.nspname = $1 group by n.nspname, t.typname order by t.typname`)
  return found.map(({ name, labels }) => `create type ${name} as enum (${labels.join(", ")});`)
}

async function sequences(read: Read): Promise<string[]> {
  const found = await read(`
    select format('%I.%I', schemaname, sequencename) as name, data_type::text as type, start_value, min_value, max_value, increment_by, cycle, cache_size
    from pg_sequences where schemaname = $1 order by sequencename`)
  return found.map((s) => {
    const range = `start ${s.start_value} increment ${s.increment_by} minvalue ${s.min_value} maxvalue ${s.max_value} cache ${s.cache_size}`
    return `create sequence ${s.name} as ${s.type} ${range}${s.cycle ? " cycle" : ""};`
  })
}

async function tables(read: Read): Promise<string[]> {
  const found = await read(`
    select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relpersistence = 'u' as unlogged, pg_get_partkeydef(c.oid) as partition_key,
      (select format('%I.%I', n.nspname, p.relname) from pg_inherits i join pg_class p on p.oid = i.inhparent where i.inhrelid = c.oid) as parent,
      pg_get_expr(c.relpartbound, c.oid) as bound, c.reloptions as options, c.relacl::text as rights, obj_description(c.oid, 'pg_class') as comment
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname !~ '${DAILY}' order by c.relname`)
  const out: string[] = []
  for (const table of found) out.push(await tableWithIndexes(read, table))
  return out
}

async function tableWithIndexes(read: Read, table: any): Promise<string> {
  const lines = [...(await columns(read, table.oid)), ...(await constraints(read, table.oid))].map((line) => `  ${line}`)
  const tail = [
    ")",
    ...(table.bound === null ? [] : [table.bound]),
    ...(table.partition_key === null ? [] : [`partition by ${table.partition_key}`]),
    ...(table.options === null ? [] : [`with (${table.options.join(", ")})`]),
  ]
  return [
    `create ${table.unlogged ? "unlogged " : ""}table ${table.name}${table.parent === null ? "" : ` partition of ${table.parent}`} (`,
    lines.join(",\n"),
    `${tail.join(" ")};`,
    ...(await indexes(read, table.oid)),
    ...(await triggers(read, table.oid)),
    ...(table.rights === null ? [] : [`-- rights: ${table.rights}`]),
    ...(table.comment === null ? [] : [`-- comment: ${table.comment}`]),
  ].join("\n")
}

async function columns(read: Read, table: number): Promise<string[]> {
  const found = await read(
    `select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required, pg_get_expr(d.adbin, d.adrelid) as value,
      a.attidentity as identity, a.attgenerated as generated, a.attcompression as compression, nullif(a.attstorage, t.typstorage) as storage
    from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`,
    table,
  )
  return found.map((c) =>
    [
      c.name,
      c.type,
      ...(c.required ? ["not null"] : []),
      ...(c.identity === "" ? [] : [`generated ${c.identity === "a" ? "always" : "by default"} as identity`]),
      ...(c.value === null ? [] : [c.generated === "" ? `default ${c.value}` : `generated always as (${c.value}), kind ${c.generated}`]),
      ...(c.compression === "" ? [] : [`compression ${c.compression}`]),
      ...(c.storage === null ? [] : [`storage ${c.storage}`]),
    ].join(" "),
  )
}

/** Without those for NOT NULL, which are rows of their own since Postgres 18 and stand with the columns here. */
async function constraints(read: Read, table: number): Promise<string[]> {
  const found = await read(
    "select format('constraint %I ', conname) || pg_get_constraintdef(oid) as line from pg_constraint where conrelid = $1 and contype <> 'n' order by conname",
    table,
  )
  return found.map(({ line }) => line)
}

async function indexes(read: Read, table: number): Promise<string[]> {
  const found = await read(
    `select pg_get_indexdef(i.indexrelid) as line from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = $1 and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')) order by c.relname`,
    table,
  )
  return found.map(({ line }) => `${line};`)
}

async function triggers(read: Read, table: number): Promise<string[]> {
  const found = await read("select pg_get_triggerdef(oid) as line from pg_trigger where tgrelid = $1 and not tgisinternal order by tgname", table)
  return found.map(({ line }) => `${line};`)
}

/** Their heads: the bodies stand in sql/functions, word for word. */
async function functions(read: Read): Promise<string[]> {
  const found = await read(`
    select pg_get_functiondef(p.oid) as text, p.proacl::text as rights from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = $1 order by p.proname, pg_get_function_identity_arguments(p.oid)`)
  return found.map(({ text, rights }) => `${text.split(/\nAS \$function/)[0].trim()};${rights === null ? "" : `\n-- rights: ${rights}`}`)
}
