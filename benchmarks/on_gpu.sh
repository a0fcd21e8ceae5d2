#!/usr/bin/env bash
# What only a GPU shows: CUDA and NCCL paths, mixed precision, no waiting for the device, the cost of steps.
# For a machine that has torch and nothing of the cluster software: the engine runs alone. Its few pure
# dependencies come as wheels, fetched where there is a network:
#
#     pip download --dest wheels pydantic ruamel.yaml numpy pyarrow scikit-learn tokenizers pytest pytest-timeout
#     rm wheels/torch*                                  # the machine has its own
#     bash benchmarks/on_gpu.sh wheels results          # on the machine with the GPU, in the repository
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=${1:?folder with wheels}
out=${2:?folder for results}
mkdir -p "$out"
python3 -m pip install --quiet --no-index "$wheels"/*.whl
export PYTHONPATH=. PERTURB_CACHE="$out/cache"
python3 -c "import torch; print(torch.__version__, torch.cuda.get_device_name())" | tee "$out/device.txt"
python3 -m pytest tests/engine/test_cuda.py -m "" -q 2>&1 | tee "$out/tests.txt"
for model in lenet5 mnist_cnn preact_resnet18 lstm; do
    python3 -m benchmarks.method_cost --model "$model" --device cuda --out "$out/$model" |
        tee "$out/method_cost_$model.txt"
done
