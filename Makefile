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

test: $(VENV)/.dev
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
