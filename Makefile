# Everything a new machine needs: Python 3.11-3.13, make and the package index.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUNS ?= runs
CORE := tests/models tests/growth tests/data tests/train tests/mobilebert
# Slow tests that start processes and send signals to them, most of which wait for each other.
PROCESSES := tests/core tests/data tests/launch tests/run tests/scale tests/train \
	tests/mobilebert/test_cache_interrupted.py tests/mobilebert/test_distill_interrupted.py

.PHONY: demo test test-core test-slow test-slow-processes test-slow-programs lint install clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock setup.py
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else "bertgrow needs Python 3.11 to 3.13; this is %d.%d: make PYTHON=python3.12 ..." % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# The main job on the embedded default: a BERT grown in stages against the same from scratch.
demo: install
	$(BIN)/bertgrow prepare --output $(RUNS)/demo/store --vocab-size 1000
	$(BIN)/bertgrow pretrain --config demo:scratch --config.data.store=$(RUNS)/demo/store --workdir $(RUNS)/demo/scratch
	$(BIN)/bertgrow pretrain --config demo:grow --config.data.store=$(RUNS)/demo/store --workdir $(RUNS)/demo/grown
	$(BIN)/bertgrow report $(RUNS)/demo/scratch $(RUNS)/demo/grown --output $(RUNS)/demo/report.html

test: install
	$(BIN)/python -m pytest

# The packages that other versions of Python, jax and numpy could break.
test-core: install
	$(BIN)/python -m pytest $(CORE)

test-slow: install
	$(BIN)/python -m pytest -m slow

# Both halves of the slow tests.
test-slow-processes: install
	$(BIN)/python -m pytest -m slow $(PROCESSES)

test-slow-programs: install
	$(BIN)/python -m pytest -m slow $(PROCESSES:%=--ignore=%)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(RUNS)
