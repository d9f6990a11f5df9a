# Everything there is to do with this checkout. `make` alone lists it.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
# The constraints hold for what builds the package, too.
INSTALL := PIP_CONSTRAINT=constraints.txt UV_BUILD_CONSTRAINT=constraints.txt $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)

# What is about processes that are killed, benchmarks, checkers and pages: one Python is as good as another.
SLOW := faults embedded bench mutants test_constraints.py typing/test_mistakes.py docs/test_pages.py docs/test_commanded.py

# Most tests wait, so that three do not crowd two cores. A server that is given has room for one: tests look at all its sessions.
WORKERS := $(if $(FRAMEWORK_DSN),,--numprocesses=3 --dist=loadfile --no-loadscope-reorder)

# What runs side by side is not mixed, but where make is too old to keep it apart.
LEGIBLY := $(if $(filter output-sync,$(.FEATURES)),--output-sync)

.DEFAULT_GOAL := help
.PHONY: help demo check format lint types mypy pyright layers docs test test-fast test-pythons external mutants schema bench clean

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## Run the sample bank to its end, on a PostgreSQL of its own
	$(BIN)/python -m sample_bank demo

check: $(VENV)/.dev ## The whole gate: format, lint, types, layering, tests, docs
	@$(MAKE) --no-print-directory --jobs=2 $(LEGIBLY) mypy pyright docs layers lint
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-pythons

format: $(VENV)/.dev ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## Check form and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: mypy pyright ## Check types, twice

mypy: $(VENV)/.dev ## Check types with mypy
	$(BIN)/mypy

pyright: $(VENV)/.dev ## Check types with pyright
	$(BIN)/pyright

layers: $(VENV)/.dev ## Check who imports whom
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## Make the pages in build/docs, all anew, where a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -E -d build/doctrees docs build/docs

test: $(VENV)/.dev ## Run the tests, and every code block in the docs
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest $(WORKERS)

test-fast: $(VENV)/.test ## Run those that take no minutes, and which another Python could turn red
	$(BIN)/python -m pytest $(WORKERS) -m 'not slow' $(addprefix --ignore=tests/,$(SLOW))

test-pythons: $(VENV)/.dev ## Run these on the other Pythons, those of 3.11 to 3.13 that are installed
	$(BIN)/python -m tests.pythons

external: $(VENV)/.dev ## Run the tests that need pgbouncer or an older PostgreSQL, which must be installed
	PYTHONASYNCIODEBUG=1 $(BIN)/python -m pytest --external

schema: $(VENV)/.dev ## Write schema.sql anew from the migrations
	$(BIN)/python -m tests.store.postgres.schema_sql

bench: $(VENV)/.dev ## Measure, beside what it is compared with: ONLY=name,name some rows, FULL=1 longer, PROFILE=1 where the time goes
	ONLY='$(ONLY)' FULL='$(FULL)' PROFILE='$(PROFILE)' $(BIN)/python -m bench

mutants: $(VENV)/.dev ## Plant each known defect in a copy, and see the test that is there for it fail
	$(BIN)/python -m tests.mutants

clean: ## Remove what was built; the data of the demo stays
	rm -rf $(VENV) $(VENV)-3.* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	@'$(or $(PYTHON),python3)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or later is needed: install it, or name it with 'make PYTHON=...'" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(INSTALL) -c constraints.txt -e '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@
