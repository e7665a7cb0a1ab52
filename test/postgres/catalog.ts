import { createDatabase, type TestDatabase } from "../support/database.js"

let migrated: Promise<string[]> | undefined

/** Of the schema `tusk` as all tests have it. */
export function migratedCatalog(): Promise<string[]> {
  migrated ??= (async () => {
    const db = await createDatabase()
    try {
      return await catalogOf(db)
    } finally {
      await db.close()
    }
  })()
  return migrated
}

/** Everything in a schema that migrations make, bodies of functions and rows of settings included, to compare two ways of making it. */
export async function catalogOf(db: TestDatabase, schema = "tusk"): Promise<string[]> {
  const rows = await db.query<{ line: string }>(
    `with s as (select oid from pg_namespace where nspname = $1)
     select format('relation %s %s %s', c.relname, c.relkind, c.reloptions) as line from pg_class c, s where relnamespace = s.oid
     union all
     select format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
     from s, pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where relnamespace = s.oid and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p')
     union all
     select format('index %s', pg_get_indexdef(i.indexrelid)) from s, pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = s.oid
     union all
     select format('constraint %s %s', conname, pg_get_constraintdef(k.oid)) from s, pg_constraint k where k.connamespace = s.oid
     union all
     select format('function %s', pg_get_functiondef(p.oid)) from s, pg_proc p where p.pronamespace = s.oid
     union all
     select format('type %s %s', t.typname, (select array_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid))
     from s, pg_type t where t.typnamespace = s.oid and t.typtype = 'e'
     order by line`,
    [schema],
  )
  const quoted = `"${schema.replaceAll('"', '""')}"`
  const meta = await db.query(`select version, min_version from ${quoted}.meta`)
  const applied = await db.query<{ name: string }>(`select name from ${quoted}.migration order by name`)
  return [...rows.map((row) => row.line), `meta ${JSON.stringify(meta)}`, `applied ${applied.map((row) => row.name).join(", ")}`]
}
