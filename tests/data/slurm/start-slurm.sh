#!/usr/bin/env bash
# Start a throw-away SLURM cluster of several nodes on this machine (root, Debian 12's SLURM 22.05).
#   start-slurm.sh DIR [NODES]     DIR: an empty folder for its state
# BASE_PORT and the NODES ports after it, and the one before it, must be free.
# WITH_DBD=1 also starts slurmdbd on a database of its own (DB_PORT, DBD_PORT), for sacct.
# It prints nothing but errors; stop-slurm.sh DIR ends all of it.
set -euo pipefail
DIR=${1:?usage: start-slurm.sh DIR [NODES]}; NODES=${2:-4}; HOST=$(hostname -s)
CPUS=${CPUS_PER_NODE:-2}; MEM=${MEM_PER_NODE:-6000}; GPUS=${GPUS_PER_NODE:-2}
BASE_PORT=${BASE_PORT:-17000}
mkdir -p "$DIR"/{state,log,run,spool,fakegpu}
for g in $(seq 0 $((GPUS-1))); do [ -e "$DIR/fakegpu/nvidia$g" ] || mknod "$DIR/fakegpu/nvidia$g" c 1 3; done

# 1. munge, which all clusters of a machine share
if ! munge -n >/dev/null 2>&1; then
  install -d -o munge -g munge -m 755 /run/munge
  # Of two that start it at once, one is too late.
  setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged --num-threads 2 &&
    cp /run/munge/munged.pid "$DIR/run/munged.pid" || true
  for _ in $(seq 40); do munge -n >/dev/null 2>&1 && break; sleep 0.25; done
fi

# 2. slurm.conf, gres.conf, cgroup.conf
ACCT="AccountingStorageType=accounting_storage/none"
[ "${WITH_DBD:-0}" = 1 ] && ACCT=$'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=localhost\nAccountingStoragePort='${DBD_PORT:-6819}$'\nAccountingStorageTRES=gres/gpu\nAccountingStorageEnforce=limits\nJobAcctGatherType=jobacct_gather/none'
cat > "$DIR/slurm.conf" <<CONF
ClusterName=mae
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
CryptoType=crypto/munge
MpiDefault=none
SlurmctldPort=$((BASE_PORT-1))
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0,default_queue_depth=200
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=${KILL_WAIT:-5}
MinJobAge=600
MaxJobCount=${MAX_JOBS:-10000}
SlurmdTimeout=${SLURMD_TIMEOUT:-10}
InactiveLimit=0
GresTypes=gpu
$ACCT
NodeName=DEFAULT CPUs=$CPUS RealMemory=$MEM State=UNKNOWN Gres=gpu:$GPUS
CONF
for i in $(seq 1 "$NODES"); do echo "NodeName=n$i NodeAddr=127.0.0.1 NodeHostname=$HOST Port=$((BASE_PORT+i))" >> "$DIR/slurm.conf"; done
cat >> "$DIR/slurm.conf" <<CONF
PartitionName=DEFAULT Nodes=n[1-$NODES] MaxTime=INFINITE State=UP DefMemPerCPU=500
PartitionName=main Default=YES PriorityTier=10
PartitionName=preemptible PriorityTier=1 PreemptMode=REQUEUE GraceTime=${GRACE_S:-30}
PartitionName=hasty PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent PriorityTier=100 PreemptMode=OFF
CONF
echo "NodeName=n[1-$NODES] Name=gpu File=$DIR/fakegpu/nvidia[0-$((GPUS-1))]" > "$DIR/gres.conf"
echo "CgroupPlugin=cgroup/v1" > "$DIR/cgroup.conf"   # read but unused: no cgroup plugin is selected
export SLURM_CONF="$DIR/slurm.conf"

# 3. the accounting database
[ "${WITH_DBD:-0}" = 1 ] && bash "$(dirname "$0")/start-dbd.sh" "$DIR"

# 4. daemons
slurmctld -f "$SLURM_CONF" -L "$DIR/log/slurmctld.log"
for i in $(seq 1 "$NODES"); do mkdir -p "$DIR/spool/n$i"; slurmd -N "n$i" -f "$SLURM_CONF"; done
for _ in $(seq 120); do
  [ "$(sinfo -h -N -p main -t idle -o %N | wc -l)" = "$NODES" ] && exit 0
  sleep 0.25
done
sinfo >&2; tail -n 20 "$DIR"/log/*.log >&2; exit 1
