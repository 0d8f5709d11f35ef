# make demo   the whole loop on a real model, about half an hour on two cores, ends with a table
# make test   format, lint, types, import rules, and every test
# Both set everything up in .venv first, once; the same command again goes on where it was.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
INSTALL := $(BIN)/python -m pip -qq --disable-pip-version-check install

.PHONY: demo test lint format setup
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/selfchallenge run calculation --preset laptop --out runs/demo

test: lint
	@echo "==> tests"
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	@echo "==> format, lint, types, import rules"
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY)
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format

setup: $(READY)

# PyTorch goes first and alone, so that nothing else decides which build of it comes.
$(READY): pyproject.toml | $(BIN)/python
	@echo "==> setting up, 2 of 3: PyTorch (the largest download, a few minutes)"
	@$(INSTALL) $(TORCH)
	@echo "==> setting up, 3 of 3: selfchallenge and what it needs (a minute or two)"
	@$(INSTALL) --editable '.[train,dev]'
	@touch $@
	@echo "==> ready in .venv"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or later is needed; name it with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is incomplete here; install it with: apt install python3-venv"; exit 1; }
	@echo "==> setting up, 1 of 3: a virtual environment in .venv"
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }
