/** All settings of Postgres that a role, a database or an application can give a session, and what the tests do with each. */

/** Set to these values, all at once, in a round of everything. */
export const HOSTILE: Readonly<Record<string, string>> = {
  // How values are written and read.
  DateStyle: "German, DMY",
  IntervalStyle: "sql_standard",
  TimeZone: "Asia/Kathmandu",
  timezone_abbreviations: "India",
  bytea_output: "escape",
  extra_float_digits: "-15",
  array_nulls: "off",
  xmlbinary: "hex",
  xmloption: "document",
  client_encoding: "LATIN1",
  lc_messages: "C",
  lc_monetary: "C",
  lc_numeric: "C",
  lc_time: "C",
  default_text_search_config: "german",
  // What statements mean.
  search_path: "evil, pg_catalog, public",
  standard_conforming_strings: "off",
  escape_string_warning: "off",
  backslash_quote: "off",
  transform_null_equals: "on",
  quote_all_identifiers: "on",
  row_security: "off",
  session_replication_role: "replica",
  lo_compat_privileges: "on",
  "plpgsql.variable_conflict": "use_column",
  "plpgsql.extra_errors": "all",
  "plpgsql.extra_warnings": "all",
  "plpgsql.check_asserts": "off",
  "plpgsql.print_strict_params": "on",
  check_function_bodies: "off",
  // Transactions.
  default_transaction_isolation: "serializable",
  default_transaction_deferrable: "on",
  synchronous_commit: "off",
  commit_delay: "10",
  commit_siblings: "0",
  // Plans.
  plan_cache_mode: "force_custom_plan",
  constraint_exclusion: "off",
  cursor_tuple_fraction: "0",
  from_collapse_limit: "1",
  join_collapse_limit: "1",
  random_page_cost: "1000",
  seq_page_cost: "0",
  work_mem: "64kB",
  maintenance_work_mem: "1MB",
  hash_mem_multiplier: "1",
  default_statistics_target: "1",
  effective_cache_size: "8kB",
  recursive_worktable_factor: "0.001",
  max_parallel_workers_per_gather: "1",
  min_parallel_table_scan_size: "0",
  min_parallel_index_scan_size: "0",
  parallel_setup_cost: "0",
  parallel_tuple_cost: "0",
  parallel_leader_participation: "off",
  jit_above_cost: "-1",
  // Storage.
  default_toast_compression: "pglz",
  temp_buffers: "800kB",
  gin_fuzzy_search_limit: "1",
  gin_pending_list_limit: "64kB",
  synchronize_seqscans: "off",
  vacuum_truncate: "off",
  // What is said.
  client_min_messages: "log",
  log_error_verbosity: "verbose",
  track_activities: "off",
  track_counts: "off",
  track_functions: "all",
  stats_fetch_consistency: "snapshot",
  compute_query_id: "on",
  composite_type_mismatch: "disabled",
  application_name: "the application's own",
  restrict_nonsystem_relation_kind: "view, foreign-table",
  createrole_self_grant: "set, inherit",
  event_triggers: "off",
  icu_validation_level: "disabled",
}

/** Families with one answer for all. */
export const FAMILIES: readonly { readonly names: RegExp; readonly value: string }[] = [
  // All but the few without which a join of the catalogs, as Kysely makes one before it migrates, is a nested loop of scans that takes minutes.
  { names: /^enable_(?!hashjoin$|indexscan$|sort$)/, value: "off" },
]

/** Time-outs, in a round of their own. */
export const TIMEOUTS: Readonly<Record<string, string>> = {
  idle_session_timeout: "2s",
  idle_in_transaction_session_timeout: "10s",
  transaction_timeout: "30s",
  statement_timeout: "15s",
  lock_timeout: "10s",
}

/** Left alone, and why. */
export const HARMLESS: readonly { readonly names: RegExp; readonly why: string }[] = [
  {
    names: /^(log_|trace_|debug_|force_parallel_mode$|auto_explain\.|pg_stat_statements\.)|^backtrace_functions$|^md5_password_warnings$/,
    why: "what the server's log says",
  },
  { names: /^track_|^update_process_title$/, why: "what statistics are kept" },
  { names: /^enable_(hashjoin|indexscan|sort)$/, why: "see the family of enable_" },
  { names: /^(geqo|jit)/, why: "how plans are made; JIT has tests of its own" },
  { names: /^cpu_.*_cost$|_io_concurrency$|^max_parallel_|^io_combine_limit$/, why: "costs and limits of plans" },
  {
    names: /^(vacuum_|wal_|backend_flush_after$|file_copy_method$|logical_decoding_work_mem$|temp_file_limit$|max_stack_depth$)/,
    why: "upkeep and limits of the server",
  },
  { names: /^(tcp_|client_connection_check_interval$|deadlock_timeout$)/, why: "how soon a dead connection, or a deadlock, is noticed" },
  {
    names: /^(default_tablespace|temp_tablespaces|default_table_access_method|allow_in_place_tablespaces)$/,
    why: "where the tables of whoever migrates are to be",
  },
  { names: /^(password_encryption|scram_iterations)$/, why: "of passwords that are set" },
  {
    names: /^(dynamic_library_path|extension_|local_preload_libraries|session_preload_libraries|output_plugin_libraries)/,
    why: "libraries of the server's",
  },
  {
    names: /^(zero_damaged_pages|ignore_|allow_system_table_mods|exit_on_error|in_hot_standby)/,
    why: "for the rescue of damaged servers, and for Postgres's own developers",
  },
  { names: /^default_transaction_read_only$/, why: "somebody's wish that nothing be written: refused writes say so (failures.test.ts)" },
  {
    names: /^(transaction_(isolation|read_only|deferrable)|role|session_authorization|seed)$/,
    why: "of the session or transaction under way, not of the next",
  },
  { names: /^(lc_|pgtusk\.)/, why: "as above" },
]

/** Objects that stand before those of Postgres under the search path above: each says, by an error, that it was used. */
export const EVIL_SCHEMA = `
create schema evil;
create function evil.trap() returns boolean language plpgsql as $$ begin raise exception 'an object of another schema was used'; end $$;
create function evil.now() returns timestamptz language sql stable as $$ select timestamptz '2001-01-01 00:00Z' where evil.trap() $$;
create function evil.clock_timestamp() returns timestamptz language sql volatile as $$ select timestamptz '2001-01-01 00:00Z' where evil.trap() $$;
create function evil.nextval(regclass) returns bigint language sql volatile as $$ select 1::bigint where evil.trap() $$;
create function evil.pg_notify(text, text) returns void language sql volatile as $$ select from evil.trap() $$;
create function evil.set_config(text, text, boolean) returns text language sql volatile as $$ select 'evil' where evil.trap() $$;
create function evil.current_setting(text) returns text language sql volatile as $$ select 'evil' where evil.trap() $$;
create function evil.pg_notification_queue_usage() returns double precision language sql volatile as $$ select 0.0::float8 where evil.trap() $$;
create function evil.unnest(anyarray) returns setof anyelement language sql volatile as $$ select $1[1] where evil.trap() $$;
create function evil.cardinality(anyarray) returns integer language sql volatile as $$ select 0 where evil.trap() $$;
create function evil.jsonb_array_elements(jsonb) returns setof jsonb language sql volatile as $$ select null::jsonb where evil.trap() $$;
create function evil.jsonb_array_length(jsonb) returns integer language sql volatile as $$ select 0 where evil.trap() $$;
create function evil.jsonb_typeof(jsonb) returns text language sql volatile as $$ select '' where evil.trap() $$;
create function evil.gen_random_uuid() returns uuid language sql volatile as $$ select null::uuid where evil.trap() $$;
create function evil.hashtextextended(text, bigint) returns bigint language sql volatile as $$ select 0::bigint where evil.trap() $$;
create function evil.pg_advisory_xact_lock(bigint) returns void language sql volatile as $$ select from evil.trap() $$;
create function evil.least_of(text, text) returns boolean language sql volatile as $$ select evil.trap() $$;
create function evil.least_of(uuid, uuid) returns boolean language sql volatile as $$ select evil.trap() $$;
create function evil.least_of(bigint, bigint) returns boolean language sql volatile as $$ select evil.trap() $$;
create function evil.least_of(integer, integer) returns boolean language sql volatile as $$ select evil.trap() $$;
create function evil.least_of(timestamptz, timestamptz) returns boolean language sql volatile as $$ select evil.trap() $$;
create operator evil.= (leftarg = text, rightarg = text, function = evil.least_of);
create operator evil.= (leftarg = uuid, rightarg = uuid, function = evil.least_of);
create operator evil.= (leftarg = bigint, rightarg = bigint, function = evil.least_of);
create operator evil.= (leftarg = integer, rightarg = integer, function = evil.least_of);
create operator evil.> (leftarg = timestamptz, rightarg = timestamptz, function = evil.least_of);
create operator evil.<= (leftarg = timestamptz, rightarg = timestamptz, function = evil.least_of);
create domain evil.uuid as pg_catalog.int4;
create domain evil.jsonb as pg_catalog.int4;
create domain evil.text as pg_catalog.int4;
create domain evil.timestamptz as pg_catalog.int4;
`
