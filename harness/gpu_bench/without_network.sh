#!/bin/sh
# Run the kit on a machine with a device and without network: sh harness/gpu_bench/without_network.sh [arguments of the kit]
# What the machine's Python lacks is taken from wheels/, which `python -m harness.gpu_bench.prepare` has filled.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
site=build/site
if [ -d wheels ]; then
    "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$site" wheels/*.whl
fi
export PYTHONPATH="$PWD:$PWD/$site" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
# The first look at the device's libraries takes long on a machine that has just started: before any stage has a deadline.
timeout 75 "$python" -c 'import torch, transformers; torch.cuda.is_available() and torch.zeros(1, device="cuda")' || true
exec "$python" -m harness.gpu_bench "$@"
