/**
 * Row-level security on our tables. Services and event triggers switch it on for every new table, some for the owner too (FORCE). Where no policy
 * admits a role, Postgres refuses its inserts, and hides all rows from its other statements without an error: a queue looks empty. So migrations give
 * the owner a policy where security is forced, and each client asks once, at its first use, whether a table hides its rows.
 */
import { ConnectionError } from "../../api/errors.js"
import type { SchemaNames } from "./names.js"

/**
 * Gives the owner of each table on which row-level security is forced a policy for all rows. Other roles get nothing. A second run finds the policies
 * and does nothing. It passes over tables that the user may not change. Daily partitions need none: they are used through their parent, whose
 * policies count then.
 */
export const ADMIT_OWNER = `do $$
declare
  part record;
begin
  for part in
    select c.oid::regclass as name, c.relowner::regrole as owner from pg_class c
    where c.relnamespace = to_regnamespace('{schema}') and c.relkind in ('r', 'p') and c.relforcerowsecurity
      and c.relname !~ '^finished_jobs_[0-9]' and pg_has_role(c.relowner, 'usage')
      and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'pgtusk_owner')
  loop
    execute format('create policy pgtusk_owner on %s to %s using (true) with check (true)', part.name, part.owner);
  end loop;
end
$$`

/**
 * A subselect: null, or as one text the role, whether it owns a table ("owner" or "user"), and the tables that hide their rows from it. $1 is the quoted
 * schema. A table counts when a command that the role may run on it is admitted by no policy. What policies of the application's admit is its own affair.
 * Written for any search_path. Reads the catalog alone.
 */
export const HIDDEN_TABLES = `(
  select pg_catalog.concat_ws(':', current_user, case when pg_catalog.bool_or(pg_catalog.pg_has_role(c.relowner, 'usage')) then 'owner' else 'user' end,
    pg_catalog.string_agg(c.relname::pg_catalog.text, ', ' order by c.relname))
  from pg_catalog.pg_class c
  where c.relnamespace operator(pg_catalog.=) pg_catalog.to_regnamespace($1::pg_catalog.text) and c.relrowsecurity
    and c.relname operator(pg_catalog.!~) '^(finished_jobs_[0-9]|migration)' and pg_catalog.row_security_active(c.oid)
    and exists (
      select from (values ('r', 'SELECT'), ('a', 'INSERT'), ('w', 'UPDATE'), ('d', 'DELETE')) need (command, privilege)
      where pg_catalog.has_table_privilege(c.oid, need.privilege) and not exists (
        select from pg_catalog.pg_policy p
        where p.polrelid operator(pg_catalog.=) c.oid and p.polpermissive
          and p.polcmd::pg_catalog.text operator(pg_catalog.=) any (array['*', need.command])
          and exists (select from pg_catalog.unnest(p.polroles) admitted (role)
            where case when admitted.role operator(pg_catalog.=) 0::pg_catalog.oid then true else pg_catalog.pg_has_role(admitted.role, 'usage') end)))
  having pg_catalog.count(*) operator(pg_catalog.>) 0
)`

/** What to do about what HIDDEN_TABLES found. */
export function hiddenRows(found: string, names: SchemaNames): ConnectionError {
  // A role's name may hold any character; ours have none of these.
  const [, role, kind, tables] = /^(.*):(owner|user):([^:]*)$/s.exec(found)!
  const what = `Row-level security hides the rows of ${tables} in the schema ${names.quoted} from the role "${role}", since no policy admits it`
  if (kind === "owner") return new ConnectionError(`${what}; run \`npx pgtusk migrate\` as this role, which gives the owner a policy`)
  const quoted = `"${role!.replaceAll('"', '""')}"`
  const first = tables!.split(", ")[0]
  return new ConnectionError(
    `${what}; as the owner of these tables, write for each: create policy ${quoted} on ${names.quoted}.${first} to ${quoted} using (true) with check (true)`,
  )
}
