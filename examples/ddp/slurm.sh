#!/bin/sh
# Train on two nodes of four GPUs under SLURM; further arguments go to `raincleave fit`.
#
#     sbatch examples/ddp/slurm.sh --data.root /scratch/clean_photos
#
# Lightning reads nodes, ranks and addresses from SLURM, so --trainer.devices and --trainer.num_nodes
# must repeat what is asked of it. Where the time runs out, SLURM's signal writes a checkpoint and
# queues the job again, which goes on from there. Each job has a folder of its own, by its number; to
# go on after a crash give that of the crashed one as --trainer.default_root_dir, and --ckpt_path last.
#
# To derain a data set with all of them, each picture written once:
#     srun raincleave predict --model.init_from drn-7x7 --data.root rainy_photos \
#         --output.folder derained --trainer.num_nodes 2 --trainer.devices 4 --trainer.strategy ddp
#SBATCH --job-name=raincleave
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=SIGUSR1@120
set -eu
srun raincleave fit \
    --config recipe:drn-7x7 \
    --trainer.num_nodes 2 --trainer.devices 4 --trainer.strategy ddp \
    --trainer.default_root_dir "runs/drn-7x7-$SLURM_JOB_ID" "$@"
