# Everything runs in .venv, which is made on first use and again when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help env train test test-slow test-postgres test-slurm test-ray lint format docs bench clean

help:                        ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

env: $(READY)                ## only the environment

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "astroclf needs Python 3.11 or newer; set PYTHON=... to one")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]'
	touch $@

train: $(READY)              ## the main job: simulated galaxies, from nothing to a registered model
	$(BIN)/python -m astroclf.train experiment=quickstart

test: $(READY)               ## the test suite, without the slow tests
	$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile

test-slow: $(READY)          ## kills, faults and whole trainings
	$(BIN)/python -m pytest -m "slow and not slurm and not ray"

test-slurm: $(READY)         ## sweeps on a real SLURM of one node (apt-get install slurm-wlm munge)
	$(BIN)/python -m pytest -m slurm -rs

test-ray: $(READY)           ## sweeps and predictions on a Ray cluster of two nodes, which it installs Ray for
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[ray]'
	$(BIN)/python -m pytest -m ray -rs

test-postgres: $(READY)      ## what needs PostgreSQL's server: shared databases, two hosts
	$(BIN)/python -m pytest -m postgres

lint: $(READY)               ## formatting, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)             ## mend what formatting and lint rules can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)               ## the documentation site, with a reference from the docstrings, in docs/_build/html
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[docs]'
	rm -rf docs/_build # pages of modules that are gone would stay
	$(BIN)/python -m sphinx -q -W -b html -c docs -d docs/_build/doctrees . docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(READY)              ## each benchmark prints a table and writes JSON beside itself
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[bench]'
	$(BIN)/python benchmarks/augment.py --rounds 2
	$(BIN)/python benchmarks/cpu.py --minutes 8 --rounds 3
	$(BIN)/python benchmarks/growth.py --images 1000 4000 --files 1000
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/near_duplicates.py
	$(BIN)/python benchmarks/start_up.py --rounds 1
	$(BIN)/python benchmarks/store.py --rounds 3
	$(BIN)/python benchmarks/sweep.py --trials 6
	$(BIN)/python benchmarks/gpu.py

clean:                       ## the environment and caches; runs and models stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis docs/_build build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
