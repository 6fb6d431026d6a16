#!/usr/bin/env bash
# A private MariaDB (unix socket and loopback port) and slurmdbd for sacct.  start-dbd.sh DIR
set -euo pipefail
DIR=$1; DB_PORT=${DB_PORT:-13306}; DBD_PORT=${DBD_PORT:-6819}
mkdir -p "$DIR"/{mysql,run,log}; chown mysql: "$DIR/mysql"; chmod 755 "$DIR" "$DIR/run"
# mysql's user must reach its folder, and tests live in folders of root alone.
up=$DIR; while [ "$up" != / ]; do chmod o+x "$up"; up=$(dirname "$up"); done
SOCK=$DIR/mysql/s.sock
if [ ! -d "$DIR/mysql/data" ]; then
  mariadb-install-db --no-defaults --user=mysql --datadir="$DIR/mysql/data" --auth-root-authentication-method=normal --skip-test-db >/dev/null
fi
mariadbd --no-defaults --user=mysql --datadir="$DIR/mysql/data" --socket="$SOCK" --bind-address=127.0.0.1 --port="$DB_PORT" \
  --pid-file="$DIR/mysql/m.pid" --innodb-buffer-pool-size=128M --innodb-lock-wait-timeout=900 >"$DIR/log/mariadb.log" 2>&1 &
echo $! > "$DIR/run/mariadb.pid"
for _ in $(seq 240); do mariadb-admin --no-defaults --socket="$SOCK" -uroot ping >/dev/null 2>&1 && break; sleep 0.25; done
mariadb --no-defaults --socket="$SOCK" -uroot -e "create database if not exists slurm_acct_db; create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm'; create user if not exists 'slurm'@'localhost' identified by 'slurm'; grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1'; grant all on slurm_acct_db.* to 'slurm'@'localhost';"
(umask 077; cat > "$DIR/slurmdbd.conf") <<CONF
AuthType=auth/munge
DbdHost=localhost
DbdPort=$DBD_PORT
SlurmUser=root
LogFile=$DIR/log/slurmdbd.log
PidFile=$DIR/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$DB_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
SLURM_CONF=$DIR/slurm.conf slurmdbd || true
for _ in $(seq 240); do SLURM_CONF=$DIR/slurm.conf sacctmgr -n list cluster >/dev/null 2>&1 && break; sleep 0.25; done
export SLURM_CONF=$DIR/slurm.conf
sacctmgr -n list cluster format=cluster | grep -qw mae || sacctmgr -i add cluster mae >/dev/null
sacctmgr -i add account lab cluster=mae >/dev/null || true
sacctmgr -i add user root account=lab >/dev/null || true
