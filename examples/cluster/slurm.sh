#!/bin/bash
# A training on two nodes with four GPUs each: sbatch examples/cluster/slurm.sh
# Nodes, GPUs, time and partition are yours. The lines of `srun` need no change for other numbers.
#SBATCH --job-name=reldn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# What is trained, and the folder of the run on a disk that all nodes share.
CONFIG="${CONFIG:-vg/reldn_x101_fpn.yaml}"
WEIGHTS="${WEIGHTS:-output/vg/detector_x101_fpn}"
OUTPUT="${OUTPUT:-output/vg/reldn_x101_fpn}"
PROCESSES="${PROCESSES:-4}" # on each node: as many as it has GPUs

# The nodes meet at the first one, at a port that follows from the number of the job.
NODES="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
FIRST_NODE="${NODES%%$'\n'*}"
PORT="$((20000 + SLURM_JOB_ID % 10000))"

# One torchrun on each node. After a killed process all of them start again, three times at most, and --resume
# goes on from the last checkpoint. The same line goes on after Slurm has queued the job again.
# Since Slurm 22.05, srun has to be told the processors again.
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" python -m torch.distributed.run \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$PROCESSES" --max-restarts=3 \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$FIRST_NODE:$PORT" \
    -m reldn_cli train --config-file "$CONFIG" --weights "$WEIGHTS" --output "$OUTPUT" --resume "$@"
