# Two commands do all set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.all: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[all]'
	touch $@

$(VENV)/.dev: $(VENV)/.all
	$(BIN)/pip install --quiet --editable '.[all,ultralytics,dev]'
	touch $@

.PHONY: help demo test test-slow check format bench site clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.all ## install, then label generated pictures to a finished report in demo/ (offline)
	$(BIN)/gtloop demo --out demo

test: $(VENV)/.dev ## install, then run all tests but the slow ones, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.dev ## the slow tests: real fits that are killed, many random kills
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: $(VENV)/.dev ## format, lint, types
	$(BIN)/ruff format --check core plugins tests benchmarks
	$(BIN)/ruff check core plugins tests benchmarks
	$(BIN)/mypy

format: $(VENV)/.dev ## mend what ruff can mend
	$(BIN)/ruff format core plugins tests benchmarks
	$(BIN)/ruff check --fix core plugins tests benchmarks

bench: $(VENV)/.dev ## measure: the promise, audits, start-up, and a 1,000-image job (about an hour on two cores)
	$(BIN)/python benchmarks/promise.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/job.py

site: $(VENV)/.dev ## build the documentation as a site in site/ (offline)
	$(BIN)/mkdocs build --strict

clean: ## remove the environment and what the demo made
	rm -rf $(VENV) demo build dist site
