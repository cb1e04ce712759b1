# One command per need; the same ones run in continuous integration (.ci/run).
# Everything happens inside .venv, which is made on first use and renewed when pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

venv := .venv
python := $(venv)/bin/python
installed := $(venv)/.installed
outside_make_test := not benchmark and not long
# The longest tests must not be the last to begin, hence work stealing.
on_all_cores := --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help install demo test check format bench simulate clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

install: $(installed) ## make .venv and install thingjobs with its development tools

demo: $(installed) ## embedded broker, jobs service and an agent on this machine: watch a real job run
	@$(python) -m thingjobs_broker.demo

test: $(installed) ## run the tests: first those that need only Python, then those with real brokers
	@echo "== tests that need only Python"
	@$(python) -m pytest -q $(on_all_cores) -m "not broker and $(outside_make_test)"
	@echo "== tests with real brokers and programs"
	@$(python) -m pytest -q $(on_all_cores) -m "broker and $(outside_make_test)"

check: $(installed) ## formatting, lint and types
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(python) -m mypy

format: $(installed) ## format the code and apply the safe fixes of the linter
	@$(python) -m ruff check --fix-only .
	@$(python) -m ruff format .

bench: $(installed) ## measure the embedded broker next to a bare echo and to Mosquitto
	@$(python) -m tests.benchmarks

simulate: $(installed) ## run worlds where everything goes wrong: SEED=n replays one, RUNS=n or SECONDS=n for how many
	@PYTHONHASHSEED=0 $(python) -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(FROM),--from $(FROM))

clean: ## remove .venv and everything the tools left behind
	@rm -rf $(venv) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(installed): pyproject.toml
	@found=""; \
	for candidate in python3.11 python3.12 python3.13 python3.14 python3; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "make: thingjobs needs Python 3.11 or later; found: $$(python3 --version 2>&1 || true)" >&2; exit 1; \
	fi; \
	echo "== installing into $(venv) with $$($$found --version)"; \
	if ! $$found -m venv $(venv); then \
	  rm -rf $(venv); \
	  echo "make: $$found cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; \
	fi
	@$(python) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
