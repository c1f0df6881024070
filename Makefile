# Everything a newcomer needs: make, Python >= 3.10 and a package index.
#   make demo     train the embedded digits, look at the figures; again in the chip's integers, compared where they run
#   make test     all tests, side by side; those that need data are skipped where there is none
#   make lint     what CI checks first
#   make docs     the site of documentation, in build/site: tutorials are run, a warning is an error
#   make lava-env Lava's own environment, for Python 3.10; `make test` makes it too where it finds one
#   make package  source distribution and wheel of what is committed, in dist/; the same commit gives the same bytes
#   make test-package, make test-lowest   the wheel in an empty environment; the oldest versions of what it depends on
SHELL := /bin/bash

# The first Python that is recent enough; `make PYTHON=...` chooses another one.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Lava runs on Python 3.10 alone: on the PATH, under pyenv, or one that uv knows.
LAVA_PYTHON ?= $(shell for p in python3.10 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.10*/bin/python3.10 "$$(uv python find 3.10 2>/dev/null)"; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1 && echo "$$p" && break; done)
LAVA_VENV := .venv-lava
LAVA_PIP := $(LAVA_VENV)/bin/python -m pip --disable-pip-version-check --quiet

# Environments of their own, made anew: what builds, what tests a wheel, what tests the oldest dependencies (which have wheels up to 3.12).
PACKAGE_VENV := build/package-env
WHEEL_VENV := build/wheel-env
LOWEST_VENV := build/lowest-env
LOWEST_PYTHON ?= $(or $(LAVA_PYTHON),$(PYTHON))
# What needs neither a compiler nor much time.
QUICK := -m "not slow and not alone and not compiled"
TEST_TOOLS := hypothesis pytest pytest-timeout pytest-xdist

.PHONY: demo test lint docs format lava-env package test-package test-lowest clean build/types

demo: $(VENV)/installed
	@rm -rf runs/demo runs/demo-chip
	$(BIN)/polystep-snn train digits --out runs/demo
	$(BIN)/polystep-snn plot runs/demo
	$(BIN)/polystep-snn train digits --neuron loihi --out runs/demo-chip
	$(BIN)/polystep-snn verify runs/demo-chip --backend auto
	$(BIN)/polystep-snn eval runs/demo-chip --backend auto
	$(BIN)/polystep-snn export runs/demo-chip --format nir --out runs/demo-chip/digits.nir
	@echo "Figures are in runs/demo/figures, the chip's integers in runs/demo-chip/network.safetensors."

# Tests that need Lava are skipped, with that reason, where there is no Python for it.
# MARKS="and not slow" leaves slow ones out. One thread a process: tests run side by side, and so do the commands that they start.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/installed-dev $(if $(filter test,$(MAKECMDGOALS)),$(if $(LAVA_PYTHON),$(LAVA_VENV)/installed))
	$(BIN)/python -m pytest -m "not alone $(MARKS)" --numprocesses auto --maxprocesses 8 --dist worksteal
	$(BIN)/python -m pytest -m "alone $(MARKS)"

lava-env: $(LAVA_VENV)/installed

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory build/types
	$(BIN)/mypy build/types/polystep_snn

package:
	@$(PYTHON) -m venv --clear $(PACKAGE_VENV)
	@$(PACKAGE_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt build setuptools twine
	@rm -f dist/*
	$(PACKAGE_VENV)/bin/python .ci/build_packages.py
	$(PACKAGE_VENV)/bin/twine check --strict dist/*

# The tests that need no repository, in a folder with nothing but them beside the installed wheel.
test-package: export OMP_NUM_THREADS := 1
test-package: package
	@rm -rf build/elsewhere && mkdir -p build/elsewhere && cp -r pyproject.toml tests build/elsewhere
	@$(PYTHON) -m venv --clear $(WHEEL_VENV)
	@$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt torch
	@$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt \
		"$$(ls dist/*.whl)[benchmarks,events]" $(TEST_TOOLS)
	cd build/elsewhere && $(CURDIR)/$(WHEEL_VENV)/bin/python -m pytest $(QUICK)

test-lowest: export OMP_NUM_THREADS := 1
test-lowest:
	@$(LOWEST_PYTHON) -m venv --clear $(LOWEST_VENV)
	@$(LOWEST_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints-lowest.txt \
		--editable ".[benchmarks,events]" $(TEST_TOOLS)
	$(LOWEST_VENV)/bin/python -m pytest $(QUICK)

docs: $(VENV)/installed-docs build/types
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The site is in build/site: python -m http.server --directory build/site"

# mypy and the site follow folders, not the mapping in pyproject.toml: links stand where the packages are installed.
build/types:
	@rm -rf $@ && mkdir -p $@/polystep_snn
	@ln -s $(CURDIR)/polystep_snn/* $(CURDIR)/hardware $(CURDIR)/datasets $@/polystep_snn

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(LAVA_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.10 was found: install one, or name it with make PYTHON=..."; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch alone first: the constraint decides which build the others find installed.
$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	@echo "Installing polystep-snn (a minute or two)"
	@$(PIP) install --constraint constraints.txt torch
	@$(PIP) install --constraint constraints.txt --editable ".[events]"
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing the tools for tests"
	@$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed-dev
	@echo "Installing what makes the site"
	@$(PIP) install --constraint constraints.txt --editable ".[docs]"
	@touch $@

$(LAVA_VENV)/python:
	@test -n "$(LAVA_PYTHON)" || { echo "Lava needs Python 3.10, and none was found: install one (such as with uv python install 3.10)," \
		"or name it with make lava-env LAVA_PYTHON=..."; exit 1; }
	@echo "Creating $(LAVA_VENV) with $(LAVA_PYTHON)"
	@$(LAVA_PYTHON) -m venv $(LAVA_VENV)
	@touch $@

# This project without its dependencies: what runs beside Lava needs numpy and safetensors.
$(LAVA_VENV)/installed: $(LAVA_VENV)/python pyproject.toml constraints-lava.txt
	@echo "Installing Lava (a minute)"
	@$(LAVA_PIP) install --constraint constraints-lava.txt lava-nc numpy safetensors
	@$(LAVA_PIP) install --no-deps --editable .
	@touch $@
