# `make` alone lists what there is. Everything made lies in build/; `make clean` removes it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PY := build/venv/bin/python
BIN := build/venv/bin
VENV := build/venv/.made-from
PACKAGE := _utils/vmdk_failover

.PHONY: help demo scenario bench bench-detect test lint format unit setup system preflight vcenter named lock clean

help: ## this list
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: preflight setup vcenter ## a failover before your eyes: lab vCenter, Salt master, nodes (root, Linux)
	@$(PY) -m lab demo $(ARGS)

scenario: named preflight setup vcenter ## one scenario of the lab as JSON: make scenario NAME=… [ARGS=…]
	@$(PY) -m lab run "$(NAME)" --json $(ARGS)

named:
	@[[ -n "$(NAME)" ]] || { echo 'scenario: say which one: make scenario NAME=…' >&2; exit 2; }

bench: preflight setup vcenter ## the lab's measurements
	@$(PY) -m lab bench $(ARGS)

bench-detect: preflight setup ## how soon a node sees a failing disk, and what watching costs: ARGS='--runs 20'
	@$(PY) -m lab.bench_detect $(ARGS)

test: preflight lint vcenter unit ## all checks and tests (root, Linux)

unit:
	@$(PY) -m pytest $(ARGS)

lint: setup ## ruff, mypy, import contracts, go vet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=_utils $(BIN)/lint-imports --no-cache
	$(PY) scripts/bootstrap_block.py --check
	scripts/go.sh vet ./...

format: setup ## sort imports, lay out the code, write the bootstrap block
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(PY) scripts/bootstrap_block.py --write

setup: system $(VENV) ## build/venv with everything pinned

$(VENV): requirements/dev.txt scripts/setup.sh scripts/common.sh
	@scripts/setup.sh

vcenter: $(VENV)
	@scripts/go.sh --build

system: ## the Debian packages that are missing (root)
	@scripts/system-packages.sh

preflight:
	@scripts/preflight.sh

lock: setup ## resolve requirements/dev.in anew: make lock [ARGS=--upgrade]
	@scripts/lock.sh $(ARGS)

clean: ## remove build/ and caches
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
