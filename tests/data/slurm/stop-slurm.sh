#!/usr/bin/env bash
# Stop what start-slurm.sh started, by recorded process id only, and wait until it is gone.
# munge goes last, and stays if another cluster of this machine still runs.
DIR=${1:?usage: stop-slurm.sh DIR}; export SLURM_CONF=$DIR/slurm.conf
stop() { local pid; pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null; for _ in $(seq 100); do [ -d "/proc/$pid" ] || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null; }
timeout 10 scancel -u "$(id -un)" 2>/dev/null
for _ in $(seq 40); do [ -z "$(timeout 5 squeue -h -t R,CG 2>/dev/null)" ] && break; sleep 0.25; done
for f in "$DIR"/run/slurmd.*.pid "$DIR"/run/slurmctld.pid; do [ -f "$f" ] && stop "$f"; done
for f in "$DIR"/run/slurmdbd.pid "$DIR"/run/mariadb.pid; do  # they would tidy up what is thrown away
  [ -f "$f" ] && kill -9 "$(cat "$f")" 2>/dev/null
done
[ -f "$DIR/run/munged.pid" ] && ! pgrep -x slurmctld >/dev/null && stop "$DIR/run/munged.pid"; true
