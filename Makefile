# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer: they install what they need into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Many images forbid bytecode; then each of the many processes that tests start compiles a thousand modules, for 3 seconds.
unexport PYTHONDONTWRITEBYTECODE

# A file's tests share what they compile. Files come in their order: the longest are not the last.
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help play demo test test-all tests lint docs site benchmark clean

help:
	@echo "make play       choose a game and play it"
	@echo "make demo       random play of the ten games in big batches, pictures in out/: under two minutes"
	@echo "make test       lint, types and tests"
	@echo "make test-all   the same with the longer proofs"
	@echo "make tests      tests alone"
	@echo "make lint       lint and types alone"
	@echo "make docs       make the gallery and the games' pages anew"
	@echo "make site       build the documentation, with the games to play in it, as a site in site/"
	@echo "make benchmark  compare the speed with popgym-arcade 0.0.7, which gets an environment of its own"
	@echo "make clean      remove what these commands installed"

play: $(VENV)/human
	$(BIN)/popgym-arcade play

demo: $(VENV)/demo
	$(BIN)/popgym-arcade demo

# Types take one core half a minute; tests begin beside them.
test: $(VENV)/dev
	$(MAKE) --no-print-directory --jobs 2 lint tests

test-all: $(VENV)/dev
	$(MAKE) --no-print-directory --jobs 2 lint tests OPTIONS='-m "" -o faulthandler_timeout=3600'

tests: $(VENV)/dev
	$(BIN)/python -m pytest $(WORKERS) $(OPTIONS)

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/baselines
	$(BIN)/python -m docs.make

site: $(VENV)/site
	$(BIN)/popgym-arcade export-web --out docs/arcade
	$(BIN)/zensical build --clean --strict

benchmark: $(VENV)/demo
	$(BIN)/python benchmarks/compare.py

clean:
	rm -rf $(VENV) out site .cache docs/arcade

# One stamp per extra, one for the tools of contributors, one for those of the site: installed again when the declared
# dependencies change.
$(VENV)/dev: WANTED = '.[all]' --group dev
$(VENV)/site: WANTED = '.[baselines]' --group site
$(VENV)/%: WANTED = '.[$*]'
$(VENV)/%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable $(WANTED)
	@touch $@
