# make run: the service with all it needs; make test: the checks. Python 3.11 or newer is enough to begin with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-slow check unit e2e schemathesis faults bench bench-full bench-lnirt bench-planning docs lock clean

help:  ## What there is to make
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)  ## Run the service on port 4008, with a guided run on an empty database
	$(BIN)/smartstudy serve --guided

test: check unit  ## Everything that must pass

test-slow: $(READY)  ## The tests that are slow by nature
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## Style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY)  ## The tests
	$(BIN)/python -m pytest

e2e: $(READY)  ## Every page in a real browser, and their screenshots into docs/pages (needs Chromium; minutes)
	NEEDS_BROWSER=1 PICTURES=docs/pages $(BIN)/python -m pytest -m e2e tests/e2e

schemathesis: $(READY)  ## Every route, asked for what it should take and refuse, for long (ten minutes)
	SCHEMATHESIS_EXAMPLES=$${SCHEMATHESIS_EXAMPLES:-300} $(BIN)/python -m pytest -rP \
	    tests/routers/test_schema_conformance.py

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SmartStudy needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock: $(READY)  ## Pin the newest versions that fit pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra otel --group dev --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --upgrade --output-file requirements.lock

bench: bench-lnirt  ## Speed beside the source documents' way and what the machine allows; LNIRT beside R (minutes)
	$(BIN)/python -m benchmarks

bench-full: $(READY)  ## The same up to a million tasks (half an hour)
	$(BIN)/python -m benchmarks --full

bench-lnirt: $(READY)  ## LNIRT: agreement, recovery, prediction and seconds, beside R's (half a minute)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.lnirt

bench-planning: $(READY)  ## Plans beside other ways to practise, with simulated students (minutes)
	$(BIN)/python -m benchmarks.planning

docs: $(VENV)/.ready-dev  ## The documentation site into site/, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html"

faults: $(READY)  ## Every file, database and training call fails once, and the process is killed there (a quarter of an hour)
	$(BIN)/python -m faults

clean:  ## Remove what was installed here
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
