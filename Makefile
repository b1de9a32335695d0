# make run: the service with all it needs; make test: the checks. Python 3.11 or newer is enough to begin with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
# One process more than there are cores, for some tests wait; each may hold a TensorFlow (0.8 GB)
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test test-slow check unit coverage e2e schemathesis faults bench bench-full bench-lnirt bench-planning docs lock clean

help:  ## What there is to make
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)  ## Run the service on port 4008, with a guided run on an empty database
	$(BIN)/smartstudy serve --guided

test: check unit  ## Everything that must pass

check: $(READY_DEV)  ## Style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY_DEV)  ## The tests, on all cores; `make unit RANDOM=1`: in random order
	$(PYTEST) $(if $(RANDOM),-p randomly)

test-slow: $(READY_DEV)  ## Rounds of faults, short benchmarks, hostile requests to every route, every page in a browser (minutes)
	$(PYTEST) -m "slow or e2e"

coverage: $(READY_DEV)  ## How much of the code the quick tests reach; fails where that is less than it was
	$(PYTEST) --cov --cov-report=term

e2e: $(READY_DEV)  ## Every page in a real browser, and their screenshots into docs/pages (needs Chromium; minutes)
	NEEDS_BROWSER=1 PICTURES=docs/pages $(BIN)/python -m pytest -m e2e tests/e2e

schemathesis: $(READY_DEV)  ## Every route, asked for what it should take and refuse, for long (ten minutes)
	SCHEMATHESIS_EXAMPLES=$${SCHEMATHESIS_EXAMPLES:-300} $(BIN)/python -m pytest -rP -m slow \
	    tests/routers/test_schema_conformance.py

# What runs, and what an editable install of it needs
$(READY): requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SmartStudy needs Python 3.11 or newer")'
	@echo "Installing into $(VENV) what SmartStudy runs with: 1.9 GB, most of it TensorFlow; one to three minutes, once ..."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements.lock -r requirements-build.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# What tests, checks, measures and documents it
$(READY_DEV): $(READY) requirements-dev.lock
	@echo "Installing into $(VENV) what tests and checks it: 0.5 GB; up to a minute, once ..."
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

COMPILE = uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock:  ## Pin the newest versions that fit pyproject.toml, the same for every Python where there are some (needs uv)
	$(COMPILE) --upgrade --extra dask --extra otel --group dev pyproject.toml --output-file requirements-dev.lock
	$(COMPILE) --no-annotate --extra dask --extra otel pyproject.toml --constraints requirements-dev.lock --output-file requirements.lock
	$(COMPILE) --no-annotate --group build --constraints requirements-dev.lock --output-file requirements-build.lock

bench: bench-lnirt  ## Speed beside the source documents' way and what the machine allows; LNIRT beside R (minutes)
	$(BIN)/python -m benchmarks

bench-full: $(READY_DEV)  ## The same up to a million tasks (half an hour)
	$(BIN)/python -m benchmarks --full

bench-lnirt: $(READY_DEV)  ## LNIRT: agreement, recovery, prediction and seconds, beside R's (half a minute)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.lnirt

bench-planning: $(READY_DEV)  ## Plans beside other ways to practise, with simulated students (minutes)
	$(BIN)/python -m benchmarks.planning

docs: $(VENV)/.ready-dev  ## The documentation site into site/, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html"

faults: $(READY_DEV)  ## Every file, database and training call fails once, and the process is killed there (a quarter of an hour)
	$(BIN)/python -m faults

clean:  ## Remove what was installed here
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
