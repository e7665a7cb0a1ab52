#!/bin/sh
# Says whether the server takes connections, with the exit codes of the real pg_isready, which the server's package lacks. It reads the mark that
# the server itself keeps in postmaster.pid (pg_ctl waits for the same); the options are taken and not needed.
status=$(sed -n 8p "$PGDATA/postmaster.pid" 2> /dev/null)
case $status in
  ready*) echo "accepting connections" ;;
  "") echo "no response"; exit 2 ;;
  *) echo "rejecting connections"; exit 1 ;;
esac
