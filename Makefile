# Two commands: `make bench` answers every question in the tiny world, `make test` proves the code.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help setup bench smoke test test-all lint types clean faults record

help:
	@echo "make bench     set up .venv and run every question (tiny world)"
	@echo "make smoke     every step once, about a minute"
	@echo "make test      set up and run the fast tests"
	@echo "make test-all  the slow tests too"
	@echo "make faults    kills, fuzzing, full disks, load: an hour"
	@echo "make record    the recorded smoke run again (pytest -m reproducibility compares with it)"
	@echo "make lint      ruff      make types   mypy"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, this is ' + sys.version) if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

bench: setup
	$(RUN) -m bench run ablations/*.yaml

smoke: setup
	$(RUN) -m bench run ablations/*.yaml --profile smoke

test: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto -q -rs

test-all: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto -q -m "slow or not slow"

# What goes wrong on purpose (docs/faults.md): 50 kills of a smoke run, 10 000 hostile files, full disks, load.
faults: setup
	OMP_NUM_THREADS=1 FAULTS_CASES=1000 $(RUN) -m pytest -q -m "slow or not slow" tests/faults tests/bench/test_locks.py
	OMP_NUM_THREADS=1 $(RUN) -m tests.faults

record: setup
	OMP_NUM_THREADS=1 $(RUN) -m tests.reproducibility.record

lint: setup
	$(RUN) -m ruff check .

types: setup
	$(RUN) -m mypy models datasets reports bench examples

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
