# The one entry point, for people and for CI alike. Needs make and a Python of 3.11 or later, nothing else: the first
# target that needs it makes a virtual environment in .venv with the project and everything that it is tested with.

PYTHON ?= python3
JOBS ?= 2
TESTS ?=
BENCH ?=

BIN := .venv/bin
READY := .venv/.ready
CODE := $(wildcard resport tests benchmarks)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## convert a network there and back, and prove it
	@$(BIN)/resport demo

.PHONY: test
test: $(READY) ## run the tests (TESTS="-m 'not tf'" without TensorFlow, JOBS=1 in one process)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TESTS)

.PHONY: check
check: format lint test ## format, lint, check types and tables, run the tests: all of it before a commit

.PHONY: lint
lint: $(READY) ## check format, style, types and tables, and change nothing
	@$(BIN)/ruff format --check --quiet $(CODE)
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/resport mappings check

.PHONY: format
format: $(READY) ## format the code and mend what can be mended
	@$(BIN)/ruff check --quiet --fix --exit-zero $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

.PHONY: docs
docs: $(READY) ## write docs/cli.md from the commands' own help
	@$(BIN)/python -m resport.cli.reference > docs/cli.md

.PHONY: bench
bench: $(READY) ## run resport and its peers side by side and print ratios (BENCH=--quick: in a minute)
	@$(BIN)/python -m benchmarks $(BENCH)

.PHONY: install
install: $(READY) ## make the virtual environment in .venv

.PHONY: clean
clean: ## remove all that the other targets made, .venv included
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when the requirements change, and only then.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("resport needs Python 3.11 or later, this is \
	%d.%d: choose another with PYTHON=..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
