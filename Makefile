# Everything a newcomer needs: make, Python >= 3.10 and a package index.
#   make demo     train the embedded digits, look at the figures
#   make test     all tests
#   make lint     what CI checks first
SHELL := /bin/bash

# The first Python that is recent enough; `make PYTHON=...` chooses another one.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint format clean

demo: $(VENV)/installed
	@rm -rf runs/demo
	$(BIN)/polystep-snn train digits --out runs/demo
	$(BIN)/polystep-snn plot runs/demo
	@echo "The run and its figures are in runs/demo."

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# mypy follows folders, not the mapping in pyproject.toml: links stand where the packages are installed.
	@rm -rf build/types && mkdir -p build/types/polystep_snn
	@ln -s $(CURDIR)/polystep_snn/* $(CURDIR)/hardware $(CURDIR)/datasets build/types/polystep_snn
	$(BIN)/mypy build/types/polystep_snn

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.10 was found: install one, or name it with make PYTHON=..."; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch alone first: the constraint decides which build the others find installed.
$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	@echo "Installing polystep-snn (a minute or two)"
	@$(PIP) install --constraint constraints.txt torch
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the tools for tests"
	@$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@touch $@
