# Two commands do all set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONTRIB := .venv-contrib
SERVERS := .venv-labelstudio/.done .venv-mlflow/.done
.DEFAULT_GOAL := help

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.all: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[all]'
	touch $@

$(VENV)/.dev: $(VENV)/.all
	$(BIN)/pip install --quiet --editable '.[all,ultralytics,dev]'
	touch $@

$(CONTRIB)/.done: $(VENV)/.dev contrib/environment.sh $(wildcard contrib/*/pyproject.toml)
	contrib/environment.sh $(VENV) $(CONTRIB)
	$(CONTRIB)/bin/python -m pip install --quiet $(foreach d,$(wildcard contrib/gtloop-*),--editable '$(d)[dev]')
	touch $@

# Servers have environments of their own: Label Studio and MLflow want versions that gtloop can do without.
.venv-labelstudio/.done:
	$(PYTHON) -m venv .venv-labelstudio
	.venv-labelstudio/bin/pip install --quiet label-studio==1.23.2
	touch $@

.venv-mlflow/.done:
	$(PYTHON) -m venv .venv-mlflow
	.venv-mlflow/bin/pip install --quiet mlflow
	touch $@

.PHONY: help demo test test-slow test-smoke test-contrib test-all check format bench site clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.all ## install, then label generated pictures to a finished report in demo/ (offline)
	$(BIN)/gtloop demo --out demo

test: $(VENV)/.dev ## install, then run all tests but the slow ones, in three processes: many wait for others
	$(BIN)/python -m pytest -n 3 --dist loadfile

test-slow: $(VENV)/.dev ## the slow tests: real fits that are killed, many random kills
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

# One smoke test of each server, and of each distribution.
SMOKE := labelstudio/tests/test_jobs.py mlflow/tests/test_mlflow.py::test_a_run_is_shown_with_its_settings_figures_and_artifacts prolific/tests/test_run.py cvat/tests/test_run.py \
	huggingface/tests/test_run.py template/tests
test-smoke: $(CONTRIB)/.done $(SERVERS) ## one whole job with each distribution in contrib/: real servers of Label Studio and MLflow
	for t in $(SMOKE); do (cd contrib/gtloop-$${t%%/*} && $(CURDIR)/$(CONTRIB)/bin/python -m pytest $${t#*/}) || exit 1; done

test-contrib: $(CONTRIB)/.done $(SERVERS) ## the distributions in contrib/, with real servers of Label Studio and MLflow
	for d in contrib/gtloop-*; do (cd $$d && $(CURDIR)/$(CONTRIB)/bin/python -m pytest) || exit 1; done

test-all: test test-slow test-contrib ## all tests there are, the slow ones of contrib/ too
	for d in contrib/gtloop-*; do (cd $$d && $(CURDIR)/$(CONTRIB)/bin/python -m pytest -m slow || [ $$? = 5 ]) || exit 1; done

check: $(VENV)/.dev ## format, lint, types
	$(BIN)/ruff format --check core plugins tests benchmarks contrib
	$(BIN)/ruff check core plugins tests benchmarks contrib
	$(BIN)/mypy

format: $(VENV)/.dev ## mend what ruff can mend
	$(BIN)/ruff format core plugins tests benchmarks contrib
	$(BIN)/ruff check --fix core plugins tests benchmarks contrib

bench: $(VENV)/.dev ## measure: the promise, audits, start-up, and a 1,000-image job (about an hour on two cores)
	$(BIN)/python benchmarks/promise.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/job.py

site: $(VENV)/.dev ## build the documentation as a site in site/ (offline)
	$(BIN)/mkdocs build --strict

clean: ## remove the environment and what the demo made
	rm -rf $(VENV) .venv-* demo build dist site
