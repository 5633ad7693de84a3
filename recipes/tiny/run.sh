#!/bin/sh
# All stages of the built-in model. Usage: recipes/tiny/run.sh [full|smoke] [MODELS_FOLDER]
# Run it from the repository root; PYTHON names the interpreter, PROCESSES how many train.
set -eu
profile=${1:-full}
build=build/tiny
models=${2:-$([ "$profile" = full ] && echo agentsearch/_models || echo "$build/$profile/models")}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=.:envs

mkdir -p "$build"
$python -m recipes.tiny.tokenizer --profile "$profile"
$python -m torch.distributed.run --nproc_per_node "${PROCESSES:-2}" \
    --master_addr 127.0.0.1 --master_port "${PORT:-29701}" \
    -m recipes.tiny.train --profile "$profile" ${RESUME:+--resume}
$python -m recipes.tiny.package export --profile "$profile"
$python -m recipes.tiny.evaluate --profile "$profile"
$python -m recipes.tiny.package install --profile "$profile" --models "$models"
