#!/usr/bin/env bash
# What is worth measuring on an accelerator that one has for ten minutes: the speed of the games, whether they are the same
# games there, the speed of training. Each part has a limit, and keeps what it found.
#
#     bash benchmarks/device.sh FOLDER
set -u
out=${1:?the folder for the figures is missing}
export XLA_PYTHON_CLIENT_PREALLOCATE=false
mkdir -p "$out"
timeout --signal INT --kill-after 20 300 python benchmarks/device.py --workers 12 --seconds 0.1 --out "$out"
XLA_FLAGS="" timeout 90 python -m pytest -n 12 -k recorded_run tests/environments
timeout 150 python benchmarks/training.py --no-peer --workers 10 --rounds 1 --seconds 4 --seeds 3 \
  --num-envs 16 --num-steps 128 --epochs 4 --minibatches 16 --out "$out"
