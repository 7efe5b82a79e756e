# Everything that a fresh machine with Python >= 3.11 and make needs: `make demo`, `make test`.
# The environment is made once and again only when its lock file changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOCK   := requirements.lock
PYTEST_ARGS ?=
# Tests mostly wait for servers: two processes, each with servers of its own, and whole files to each.
PYTEST_WORKERS ?= 2
BENCH_ARGS  ?=
SECONDS ?= 300
# Where the fault matrix writes down what it did and saw.
FAULTS_RECORD ?= var/reliability/faults.json
# How many agents lose their cluster at once: a thousand for each processor, at most 5,000.
CROWD ?=
SOAK_RECORD ?= var/reliability/soak.json
MINUTES ?= 30
SEED ?= 1
# How many malformed records an agent gets, and where to write down what became of them.
MALFORMED ?= 1000000
HOSTILE_RECORD ?= var/reliability/hostile.json
FUZZ_RECORD ?= var/reliability/fuzz.json

.DEFAULT_GOAL := help
.PHONY: help setup kafka demo test test-fast faults crowd soak hostile fuzz lint format lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the virtual environment

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "southbound needs Python 3.11 or newer, and $(PYTHON) is %d.%d: name another with make PYTHON=..." % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) -m venv failed: install Python's venv module (Debian: python3-venv)" >&2; exit 1; }
	@echo "installing the locked dependencies into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement $(LOCK)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

kafka: setup ## fetch Kafka's jars, once; check the Java runtime and the Redis server
	@$(BIN)/python -m southbound.local

demo: kafka ## three clusters, thirty agents, one application: from publish to node
	@$(BIN)/southbound demo

test: kafka ## all tests, against real Kafka and Redis
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

test-fast: setup ## the tests that need no servers
	@$(BIN)/python -m pytest -m 'not live' $(PYTEST_ARGS)

faults: kafka ## the fault matrix: every failpoint, and servers, links, disks and clocks that go wrong
	@failed=0; \
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --faults --session-timeout 2400 \
		--faults-record $(FAULTS_RECORD) --ignore tests/faults/test_crowd.py tests/faults $(PYTEST_ARGS) \
		|| failed=1; \
	$(MAKE) --no-print-directory crowd || failed=1; exit $$failed

crowd: kafka ## of the fault matrix: CROWD agents that lose their cluster at once; needs the machine alone
	@$(BIN)/python -m pytest --faults --session-timeout 1200 $(if $(CROWD),--crowd $(CROWD)) \
		--faults-record $(FAULTS_RECORD) tests/faults/test_crowd.py

soak: kafka ## load, moves and faults in rotation for MINUTES; fails when something grows
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED) --record $(SOAK_RECORD)

hostile: kafka ## MALFORMED records in one host's slot: the agent applies every good one among them
	@$(BIN)/python -m pytest tests/live/test_hostile.py -k every_good_record --malformed $(MALFORMED) \
		--hostile-record $(HOSTILE_RECORD) --timeout 3600 --session-timeout 3600 $(PYTEST_ARGS)

fuzz: setup ## fuzz every reader of bytes, guided by coverage: make fuzz SECONDS=600
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --record $(FUZZ_RECORD)

reliability: setup ## make docs/reliability.md from the records of runs
	@$(BIN)/python -m tests.reliability write

lint: setup ## ruff, mypy --strict, import layers
	@failed=0; for check in 'ruff check .' 'ruff format --check .' mypy 'lint-imports --no-logo'; do \
		echo "$$check"; $(BIN)/$$check || failed=1; \
	done; exit $$failed

format: setup ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

million: kafka ## a million hosts on 100,000 real partitions, told and verified; data kept in var/million
	@$(BIN)/southbound bench million $(BENCH_ARGS)

bench-%: kafka ## one benchmark beside its baseline: bench-publish, bench-latency, bench-...
	@$(BIN)/southbound bench $* $(BENCH_ARGS)

lock: ## pin all dependencies anew, with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra all --extra dev --generate-hashes \
		--no-annotate --no-emit-package southbound --custom-compile-command 'make lock' \
		--output-file $(LOCK) pyproject.toml

clean: ## remove the environment and what the tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
