# The same commands for people and CI. Each target makes its own virtual environment when it is missing or out of date:
# python3 -m venv and pip, nothing else. `make demo PYTHON=python3.12` picks another interpreter (3.11 or 3.12).
PYTHON ?= python3
VENV   ?= .venv
STAMP  := $(VENV)/.installed
export PATH := $(abspath $(VENV))/bin:$(PATH)
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

demo: $(STAMP)   ## train, start a chain and four validators, replay October 2017
	dodona demo

test: $(STAMP)   ## the whole suite, under plain pytest and under `ape test`
	pytest -q
	ape test tests/contracts tests/examples -q

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

clean:           ## everything that a target made, the virtual environment included
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
