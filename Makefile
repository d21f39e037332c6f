# Every command of the project. `make` alone lists them.
# A fresh machine needs Python >= 3.11 and Node >= 20; everything else is installed here, into .venv/ and infra/node_modules/.

PYTHON ?= python3
STAGE ?= local
export STAGE

UV_VERSION := 0.13.9
BIN := .venv/bin
PYTHON_READY := .venv/.ready
NODE_READY := infra/node_modules/.ready
SAM_VERSION := 1.170.0
EMULATOR_READY := .local/sam/emulator/.ready-$(SAM_VERSION)
SAM_READY := .local/sam/venv/.ready-$(SAM_VERSION)
STACK := $(BIN)/python -m infra.local.stack
LOCK := $(BIN)/uv pip compile -q pyproject.toml --all-extras --group dev --universal --no-emit-index-url --no-header \
	--no-annotate --python-version 3.11 -o tests/requirements.txt

# Tests that start no stack, and so may run two at a time.
SIDE_BY_SIDE := tests/contract tests/infra tests/model tests/simulation tests/unit

.DEFAULT_GOAL := help
.PHONY: help setup run up down test lint fix unit bench soak sam lock

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

setup: $(PYTHON_READY) $(NODE_READY) ## Install everything that is missing, nothing twice

run: setup ## Speak a sample batch through the local stack into out/
	@$(STACK) run

up: setup ## Start the local stack and leave it running (STAGE=test make up: with small times)
	@$(STACK) up

down: $(PYTHON_READY) ## Stop the local stack
	@$(STACK) down

test: lint setup $(EMULATOR_READY) ## Run every check: format, lint, types, walls, tests
	$(BIN)/pytest -n 2 --dist loadfile $(SIDE_BY_SIDE)
	$(BIN)/pytest $(addprefix --ignore=,$(SIDE_BY_SIDE))

lint: $(PYTHON_READY) ## Check format, lint rules, types and walls
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(PYTHON_READY) ## Repair format and what lint can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

unit: $(PYTHON_READY) ## Run the quick tests only
	$(BIN)/pytest $(wildcard tests/unit tests/contract)

bench: setup $(EMULATOR_READY) ## Run the benchmarks
	@test -d tests/bench || { echo "tests/bench has no benchmark yet"; exit 1; }
	$(BIN)/pytest tests/bench -o python_files='bench_*.py' -o timeout=0 -s

soak: $(PYTHON_READY) ## Run new simulations on all cores for SOAK_MINUTES (10)
	@test -d tests/simulation || { echo "tests/simulation has no simulation yet"; exit 1; }
	$(BIN)/pytest tests/simulation -o python_files='soak_*.py' -o timeout=0 -s

sam: setup $(SAM_READY) ## Invoke the function in Docker with SAM (START_DOCKER=1 make sam: with an engine of its own)
	@$(BIN)/python -m infra.local.sam $(if $(START_DOCKER),--start-docker) $(EVENTS)

lock: $(PYTHON_READY) ## Pin what pyproject.toml asks for in tests/requirements.txt
	$(LOCK)

$(PYTHON_READY): pyproject.toml tests/requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "This needs Python 3.11 or newer. Found: $$($(PYTHON) --version 2>/dev/null || echo none)."; \
		echo "If a newer one is installed under another name: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		echo "Python could not make a virtual environment. On Debian: apt-get install python3-venv"; \
		rm -rf .venv; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo ".venv does not have Python 3.11 or newer. Remove it and try again: rm -r .venv"; exit 1; }
	@echo "Installing the Python packages"
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install -q -r tests/requirements.txt
	@$(BIN)/uv pip install -q --no-deps -e .
	@touch $@

$(NODE_READY): infra/package.json infra/package-lock.json
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || { \
		echo "The CDK command line needs Node.js 20 or newer (with npm). Found: $$(node --version 2>/dev/null || echo none)."; \
		echo "See https://nodejs.org, or your system's packages."; exit 1; }
	@echo "Installing the CDK command line"
	@npm ci --prefix infra --no-audit --no-fund --silent
	@touch $@

# A program for Linux inside the wheel of the SAM command line, whose own libraries are not needed for it.
$(EMULATOR_READY): | $(PYTHON_READY)
	@echo "Installing Lambda's Runtime Interface Emulator"
	@rm -rf .local/sam/emulator
	@$(BIN)/uv pip install -q --no-deps --target .local/sam/emulator aws-sam-cli==$(SAM_VERSION)
	@touch $@

# Its own virtual environment: SAM and ministack pin different versions of botocore.
$(SAM_READY): | $(PYTHON_READY)
	@echo "Installing the SAM command line"
	@rm -rf .local/sam/venv
	@$(BIN)/uv venv -q --python $(BIN)/python .local/sam/venv
	@$(BIN)/uv pip install -q --python .local/sam/venv/bin/python aws-sam-cli==$(SAM_VERSION)
	@touch $@
