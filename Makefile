# Every target but clean sets the project up first; when there is nothing to set up, that takes a moment and no network.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV_PYTHON := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run world simulate-year experiments tune compress test check bench gpu-smoke notebooks package clean

help: ## print these targets
	@echo "make <target>:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile

setup: ## install everything into .venv: locked packages, this project, the Delta jars
	@$(PYTHON) .ci/bootstrap.py

run: setup ## run the whole job on the demo shop; more arguments: make run ARGS="..."
	$(VENV_PYTHON) -m jobs.pipeline --config conf/complete_journey.yaml $(ARGS)

world: setup ## make a synthetic shop with known truth, then run the whole job on it
	$(VENV_PYTHON) -m jobs.world --config conf/world.yaml --pipeline $(ARGS)

simulate-year: setup ## live a year of a synthetic shop, with drift, bad data, a late file and crashed runs in it
	$(VENV_PYTHON) -m tests.year $(ARGS)

experiments: setup ## compare models, baselines and variants over several test dates of the demo shop
	$(VENV_PYTHON) -m jobs.experiments --config conf/complete_journey.yaml $(ARGS)

tune: setup ## try settings of the network on the validation date of the demo shop
	$(VENV_PYTHON) -m jobs.tune --config conf/complete_journey.yaml $(ARGS)

compress: setup ## make the demo shop's model smaller in several ways; what it costs and gains
	$(VENV_PYTHON) -m jobs.compress --config conf/complete_journey.yaml $(ARGS)

test: setup ## run the tests
	$(VENV_PYTHON) -m pytest -q

check: setup ## lint, formatting and types
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy

bench: setup ## measure speed; one part alone: make bench ARGS="cleaning"
	$(VENV_PYTHON) -m tests.bench $(ARGS)

gpu-smoke: setup ## train on one GPU in several precisions, where there is one
	$(VENV_PYTHON) -m tests.bench.gpu

notebooks: setup ## run the notebooks
	$(VENV_PYTHON) -m pytest -q tests/e2e -k notebook

package: setup ## build dist/*.whl, and dist/memberlevel_spark.zip for spark-submit --py-files
	rm -rf build dist/memberlevel_spark*
	$(VENV_PYTHON) -m build --quiet --wheel --no-isolation --outdir dist
	cp dist/memberlevel_spark-*.whl dist/memberlevel_spark.zip

clean: ## remove what the jobs, the tests and the build made; .venv and the downloaded jars stay
	rm -rf out dist build *.egg-info spark-warehouse metastore_db derby.log
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
