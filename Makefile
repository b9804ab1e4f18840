# Everything a contributor runs. `make` lists the targets; each makes what it needs.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
NEWER_PYTHON ?= $(shell for p in python3.12 python3.13 python3.14 \
	$(HOME)/.pyenv/versions/3.1[2-9]*/bin/python; do \
	$$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.setup-done
MESH := .penstock/mesh
SIMULATE ?= 2x8xH100
SEEDS ?= 1-200

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-month test test-long simulate chaos focus-validator lint bench \
	up down clean docs lock

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with pinned, hash-checked packages and the penstock command

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^setuptools==/, !/\\$$/' constraints.txt > $(VENV)/build-pins.txt
	$(PIP) --require-hashes -r $(VENV)/build-pins.txt
	$(PIP) --require-hashes --no-build-isolation -r constraints.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## From nothing to a metered job: four simulated hosts, 40 jobs, a bill, an audit
	$(BIN)/python examples/demo.py

demo-month: setup ## A month of 200 GPUs in virtual time: profit, loss, idle time, a chart
	$(BIN)/python examples/demo_month.py $(ARGS)

test: setup ## Everything but the long tests, a file a core at a time
	$(BIN)/python -m pytest -q -m "not long" -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: setup ## All tests with their full counts
	$(BIN)/python -m pytest -q $(ARGS)

simulate: setup ## Whole meshes under faults in virtual time (SEEDS=1-200; SEED=7 tells one's story)
	$(BIN)/python -m tests.simulation --explain --seeds $(or $(SEED),$(SEEDS)) $(ARGS)

chaos: setup ## Twenty minutes of faults on a real cluster (root; ARGS="--minutes 2 --seed 7")
	$(BIN)/python -m tests.chaos $(ARGS)

focus-validator: ## Install the FOCUS specification's validator beside us, for the long tests
	@test -n "$(NEWER_PYTHON)" || { echo "Python 3.12 or newer with venv is needed" >&2; exit 1; }
	$(NEWER_PYTHON) -m venv build/focus-validator
	build/focus-validator/bin/pip install --quiet focus-validator==2.2.1 pyarrow==20.0.0

lint: setup ## Style, types, dependency rules and sizes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/tidy

bench: setup ## Print the measurements as JSON lines
	@for file in benchmarks/bench_*.py; do $(BIN)/python "$$file" || exit 1; done

up: setup ## Run a mesh here in the foreground (SIMULATE=NxGxMODEL)
	$(BIN)/penstock up --data $(MESH) --simulate $(SIMULATE) $(ARGS)

down: ## Stop the mesh that `make up` runs
	@if [ ! -e $(MESH)/lock ] || flock --nonblock $(MESH)/lock true; then \
		echo "no mesh runs in $(MESH)"; \
	else \
		pid=$$(cat $(MESH)/lock) && kill -TERM $$pid && timeout 20 tail --pid=$$pid -f /dev/null; \
	fi

clean: ## Remove what setup, tests and builds made (not a mesh's data)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

docs: setup ## Write the generated documents anew
	$(BIN)/python -m penstock_contracts.documents docs
	$(BIN)/python -m penstock_gateway.openapi > docs/openapi.json
	PYTHONPATH=tests $(BIN)/python -m tidy.lessons docs/lessons.md

lock: ## Pin the newest releases anew in constraints.txt
	rm -rf build/lock && $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	echo 'setuptools>=77' > build/lock/build.in
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url \
		pyproject.toml build/lock/build.in --extra dev -o constraints.txt
