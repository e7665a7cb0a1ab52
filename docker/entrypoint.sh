#!/bin/sh
# The entry point of the image that scripts/docker-image.mjs builds. It takes what the official image of Postgres takes, as far as a test needs
# it: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, PGDATA, and a command that may begin with an option of the server.
set -eu

as_postgres() {
  setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
}

if [ "${1#-}" != "$1" ]; then set -- postgres "$@"; fi
if [ "$1" != postgres ]; then exec "$@"; fi
shift

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "POSTGRES_PASSWORD is empty: give the superuser a password, as in docker run -e POSTGRES_PASSWORD=secret" >&2
    exit 1
  fi
  mkdir -p "$PGDATA"
  chown postgres:postgres "$PGDATA"
  chmod 700 "$PGDATA"
  password=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" > "$password"
  chown postgres:postgres "$password"
  # shellcheck disable=SC2086 # the arguments are a list of words
  as_postgres initdb --pgdata="$PGDATA" --username="$user" --pwfile="$password" --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256 --no-sync ${POSTGRES_INITDB_ARGS:-}
  rm "$password"
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  if [ "$database" != postgres ]; then
    # In single-user mode, so that nobody can connect before all is there.
    printf 'create database "%s"\n' "$(printf '%s' "$database" | sed 's/"/""/g')" | as_postgres postgres --single -j -D "$PGDATA" postgres > /dev/null
  fi
fi

exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D "$PGDATA" -c listen_addresses='*' "$@"
