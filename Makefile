# `make` alone lists what there is. Everything made lies in build/; `make clean` removes it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PY := build/venv/bin/python
BIN := build/venv/bin
VENV := build/venv/.made-from
PURE := tests/core tests/packaging tests/vsphere
WITH_SALT := tests/integration
ALONE := tests/lab/test_guest_lab.py
PACKAGE := _utils/vmdk_failover

.PHONY: docs examples docs-tools guest-tools matrix corner help demo scenario bench bench-detect bench-detect-peers bench-peers bench-scale bench-bus bench-storm bench-people soak-detect bench-mind campaign soak test lint format unit setup system preflight vcenter named lock clean guest

help: ## this list
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 24

demo: preflight setup vcenter ## a failover before your eyes: lab vCenter, Salt master, nodes (root, Linux)
	@$(PY) -m lab demo $(ARGS)

scenario: named preflight setup vcenter ## one scenario of the lab as JSON: make scenario NAME=… [ARGS=…]
	@[[ "$(ARGS)" != *qemu* ]] || scripts/system-packages.sh --guest
	@$(PY) -m lab run "$(NAME)" --json $(ARGS)

named:
	@[[ -n "$(NAME)" ]] || { echo 'scenario: say which one: make scenario NAME=…' >&2; exit 2; }

bench: preflight setup vcenter ## the lab's measurements
	@$(PY) -m lab bench $(ARGS)

bench-detect: preflight setup ## how soon a node sees a failing disk, and what watching costs: ARGS='--runs 20'
	@$(PY) -m lab.bench_detect $(ARGS)

soak-detect: preflight setup ## disks hurt and healed for minutes: nothing missed, nothing false: ARGS='--minutes 30 --disks 16'
	@$(PY) -m lab.soak $(ARGS)

bench-detect-peers: preflight setup ## the same faults under ocf:heartbeat:Filesystem: ARGS='--runs 3'
	@scripts/system-packages.sh --bench
	@$(PY) -m lab.bench_ocf $(ARGS)

bench-peers: preflight setup vcenter ## the same faults here and in a cluster of Pacemaker, and what others document: ARGS='--runs 3 --only hang'
	@scripts/system-packages.sh --peers
	@$(PY) -m lab.peers $(ARGS)

bench-scale: preflight setup vcenter ## what grows with nodes and resources: ARGS='--resources 100,1000 --vms 10000 --part world'
	@$(PY) -m lab.bench_scale $(ARGS)

bench-bus: preflight setup vcenter ## from the prober's word to the master's bus, also while 16 disks hang
	@$(PY) -m lab.bench_bus $(ARGS)

bench-storm: preflight setup vcenter ## many VMs off at once: ARGS='--resources 10,50,200'
	@$(PY) -m lab.bench_storm $(ARGS)

bench-people: preflight setup vcenter ## how long status, doctor and protect take, process start included: ARGS='--resources 100 --vms 1000'
	@$(PY) -m lab.bench_people $(ARGS)

guest: preflight setup ## LVM, the SCSI bus and the watchdog in an emulated guest of their own: ARGS='-v lvm', ARGS=detect measures, ARGS=image makes its image again and compares
	@scripts/system-packages.sh --guest
	@$(PY) -m lab.guest $(ARGS)

examples: preflight setup vcenter ## a real PostgreSQL on a resource, whose committed row outlives a power cut; an NFS export that moves along
	@scripts/system-packages.sh --examples
	@scripts/exportfs.sh
	@$(PY) -m lab.examples $(ARGS)
	@$(PY) -m lab.examples_nfs

campaign: preflight setup vcenter ## kill -9 of everybody at every step of every kind of move, resumable: ARGS='--minutes 60 --only mover'
	@[[ "$(ARGS)" != *qemu* ]] || scripts/system-packages.sh --guest
	@$(PY) -m lab.campaign $(ARGS)

bench-mind: setup ## what one look and one decision cost, and histories of the simulation per second
	@PYTHONPATH=_utils $(PY) -m tests.core.bench_mind

soak: setup ## a million histories of the simulation on all cores, goes on where it was ended: ARGS='--histories 100000'
	@PYTHONPATH=_utils $(PY) -m tests.core.campaign $(ARGS)

test: preflight lint vcenter docs-tools guest-tools corner unit ## all checks and tests (root, Linux)

# What needs no lab runs on all cores, a file at a time. Labs with Salt come one by one, beside what tests the node's side and the
# lab itself: both wait most of their time. A lab of emulated guests computes all the time, so it comes last and has the cores to itself.
unit:
ifdef ARGS
	@$(PY) -m pytest $(ARGS)
else
	@failed=0; \
	$(PY) -m pytest -n $(shell nproc) --dist loadfile $(PURE) || failed=1; \
	$(PY) scripts/side_by_side.py $(WITH_SALT) -- $(PURE:%=--ignore=%) $(WITH_SALT:%=--ignore=%) $(ALONE:%=--ignore=%) || failed=1; \
	$(PY) -m pytest $(ALONE) || failed=1; \
	exit $$failed
endif

docs: setup ## the documentation, as build/docs/html
	@scripts/docs.sh

docs-tools: setup
	@scripts/docs.sh --tools

guest-tools: setup
	@scripts/system-packages.sh --guest

matrix: preflight setup vcenter ## Salt 3006, 3007 and 3008 on every Python that is here, the wheel, end to end: ARGS="-k '3006 and 3.11'"
	@scripts/matrix.sh $(ARGS)

corner: preflight setup vcenter ## the oldest Salt of the matrix, the wheel, one failover
	@scripts/matrix.sh --corner

lint: setup ## ruff, mypy, import contracts, go vet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=_utils $(BIN)/lint-imports --no-cache
	$(PY) scripts/bootstrap_block.py --check
	$(PY) scripts/scenarios_doc.py --check
	scripts/go.sh vet ./...
	MODULE=govc scripts/go.sh vet ./...

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

lock: setup ## resolve requirements/*.in anew: make lock [ARGS=--upgrade]
	@scripts/lock.sh $(ARGS)

clean: ## remove build/ and caches
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
