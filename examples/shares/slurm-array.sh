#!/bin/bash
# A study in shares as a SLURM array: one job a share, each in a folder of its own.
#
#     sbatch --array=1-5 slurm-array.sh mine.yaml 5
#     kdpipe merge share-*/results && kdpipe run mine.yaml     # when all jobs have ended
#
# A share that failed or ran out of time is submitted again by its number, such as --array=3, and
# goes on from what it has saved. Adapt the lines below to your cluster; they cannot have variables.
#SBATCH --job-name=kdpipe
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --output=share-%a.log
#SBATCH --open-mode=append
set -euo pipefail
study=$(realpath "$1")
mkdir -p "share-$SLURM_ARRAY_TASK_ID"
cd "share-$SLURM_ARRAY_TASK_ID"
exec kdpipe run "$study" --share "$SLURM_ARRAY_TASK_ID/$2" --cores "$SLURM_CPUS_PER_TASK"
