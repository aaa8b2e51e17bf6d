#!/bin/sh
# Train on every GPU of this machine; further arguments go to `raincleave fit`.
#
#     sh examples/ddp/torchrun.sh --data.root clean_photos
#
# On several machines start the same line on each, with
#     torchrun --nnodes 2 --node-rank 0 --master-addr HOST --master-port 29500 ...
# and --trainer.num_nodes 2. On one machine torchrun is not needed: Lightning starts the processes
# itself with `raincleave fit --trainer.devices 4`.
#
# The batch size counts for each process; all of them together see PROCESSES times as many patches.
set -eu
processes=${PROCESSES:-$(python -c "import torch; print(max(1, torch.cuda.device_count()))")}
exec torchrun --standalone --nproc-per-node "$processes" -m raincleave fit \
    --config recipe:drn-7x7 \
    --trainer.strategy ddp --trainer.devices "$processes" "$@"
