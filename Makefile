# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell sed -nE 's/^(uv==[^ ]+).*/\1/p' requirements.lock)
STAMP := .venv/.installed
IN_TWO := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-long chaos lint bench lock docs clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## Create .venv with the pinned packages (both commands below do it by themselves)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mien needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@test "$$(uname -sm)" = "Linux x86_64" \
	  || { echo "the pinned packages are for Linux x86-64; this is $$(uname -sm)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (about 8 GB, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Make a small video archive, score it, show the result and a report
	@rm -rf demo-store
	@$(BIN)/mien demo --out demo-store || { code=$$?; test $$code -eq 3; }  # 3: one file is broken on purpose

test: setup ## Run every test but the long ones, in two processes
	@$(BIN)/python -m pytest $(IN_TWO)

test-fast: setup ## Run the tests that need neither Ray nor seconds
	@$(BIN)/python -m pytest -m "not ray and not slow" $(IN_TWO)

test-long: setup ## Run the tests that take a minute each
	@$(BIN)/python -m pytest -m long --long

chaos: setup ## Kill what a run is made of, a hundred times, and compare (about half an hour)
	@$(BIN)/python -m tests.chaos

lint: setup ## Style, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: setup ## Measure decode to published rows end to end; writes benchmarks/results/
	@$(BIN)/python -m benchmarks.end_to_end

lock: setup ## Resolve pyproject.toml into requirements.lock again
	@$(BIN)/uv pip compile --quiet --universal --extra dev --extra teacher pyproject.toml --output-file requirements.lock

docs: setup ## Write the generated pages of docs/
	@$(BIN)/python -m pipelines.docs

clean: ## Remove the environment and what the demo made
	@rm -rf .venv demo-store
