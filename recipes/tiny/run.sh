#!/bin/sh
# All stages of a built-in model. Usage: recipes/tiny/run.sh [tiny-v3|tiny-v2|tiny-v1|smoke] [MODELS_FOLDER]
# Run it from the repository root; PYTHON names the interpreter, PROCESSES how many work, and
# RESUME=1 goes on after an interruption.
set -eu
profile=${1:-tiny-v3}
build=build/tiny/$profile
models=${2:-$([ "$profile" = smoke ] && echo "$build/models" || echo agentsearch/_models)}
python=${PYTHON:-python}
processes=${PROCESSES:-2}
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=.:envs

mkdir -p "$build"
$python -m recipes.tiny.tokenizer --profile "$profile"
case $profile in
tiny-v1) worlds= ;;
tiny-v2) worlds=babyai ;;
*) worlds="babyai webshop" ;;
esac
for world in $worlds; do
    # the dev file is written last
    if ! { [ "${RESUME:-}" ] && [ -e "$build/$world-dev.jsonl.gz" ]; }; then
        $python -m "recipes.tiny.$world" --profile "$profile" --processes "$processes"
    fi
done
if [ "$profile" = tiny-v3 ] && ! { [ "${RESUME:-}" ] && [ -e "$build/start.pt" ]; }; then
    $python -m recipes.tiny.copying --profile "$profile"
fi
$python -m torch.distributed.run --nproc_per_node "$processes" \
    --master_addr 127.0.0.1 --master_port "${PORT:-29701}" \
    -m recipes.tiny.train --profile "$profile" ${RESUME:+--resume}
$python -m recipes.tiny.package export --profile "$profile"
$python -m recipes.tiny.evaluate --profile "$profile"
$python -m recipes.tiny.package install --profile "$profile" --models "$models"
