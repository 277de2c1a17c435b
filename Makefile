# The same commands for people and CI. Each target makes its own virtual environment when it is missing or out of date:
# python3 -m venv and pip, nothing else. `make demo PYTHON=python3.12` picks another interpreter (3.11 or 3.12).
# Where npm is on PATH, `make test` also fetches anvil, Solidity compilers and other people's contracts (tests/peers/).
PYTHON ?= python3
VENV   ?= .venv
STAMP  := $(VENV)/.installed
NPM    := $(shell command -v npm 2>/dev/null)
PEERS  := tests/peers/node_modules
export PATH := $(abspath $(VENV))/bin:$(abspath $(PEERS))/.bin:$(PATH)
export OMP_NUM_THREADS := 1

.PHONY: help demo test check bench soak clean

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else \
	  f"Dodona needs Python 3.11 or 3.12, this is {v[0]}.{v[1]}: try `make demo PYTHON=python3.12`")'
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@

# Not `npm ci`: it wants anvil's packages for all platforms in the lock file, and a registry need not have them all.
$(PEERS)/.installed: tests/peers/package.json tests/peers/package-lock.json tests/peers/.npmrc
	cd tests/peers && npm install --no-save --loglevel=error
	@touch $@

demo: $(STAMP)   ## train, start a chain and four validators, replay October 2017
	dodona demo

test: $(STAMP) $(if $(NPM),$(PEERS)/.installed)  ## the whole suite in two halves side by side, each printed when it ends
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-chain test-node

# Contracts on py-evm, then under `ape test`; where npm is, on anvil too. In one process: one of its tests measures the folder's coverage.
.PHONY: test-chain test-node
test-chain: $(STAMP) $(if $(NPM),$(PEERS)/.installed)
	pytest -q tests/contracts tests/peers
	ape test tests/examples -q
ifneq ($(NPM),)
	ape test tests/contracts -q --network ethereum:local:foundry
else
	ape test tests/contracts -q
	@echo "SKIPPED, for there is no npm on PATH: the contracts on anvil, and the peers of tests/peers/"
endif

test-node: $(STAMP)
	pytest -q tests --ignore=tests/contracts --ignore=tests/peers

check: $(STAMP)  ## ruff, mypy strict, architecture rules
	ruff check .
	ruff format --check .
	mypy
	pytest -q tests/test_architecture.py

bench: $(STAMP)  ## every benchmark, tables on the terminal and JSON in benchmarks/results/
	@mkdir -p benchmarks/results
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; \
	  python $$script --json benchmarks/results/$$(basename $$script .py).json; done

soak: $(STAMP)   ## what is longer than the suite's budget
	pytest -q -m soak
	DODONA_EXPLORE=1 pytest -q tests/feeds tests/models tests/oracle/consensus tests/contracts

clean:           ## everything that a target made, the virtual environment and npm's packages included
	rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
