# Everything a fresh machine needs: `make demo` and `make test`. `make check` is what a change must pass.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test check lint laws web docs venv clean

help:
	@echo "make demo    simulate a moving molecule, find its parts and states, compare with the truth (5 minutes)"
	@echo "make test    run the tests"
	@echo "make check   formatter, linter, types, layers, spelling, laws"
	@echo "make web     build and test the page of reports and of the viewer (needs Node.js)"
	@echo "make docs    build the documentation's pages in site/"
	@echo "make clean   remove what the above wrote, .venv excepted"

demo: $(READY)
	@$(BIN)/morphem demo -o demo

test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

check: lint laws

lint: $(READY)
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell
	@$(BIN)/python -c "import subprocess, time; start = time.perf_counter(); \
		subprocess.run(['$(BIN)/morphem'], check=True, capture_output=True); \
		print(f'morphem without arguments answers in {time.perf_counter() - start:.2f} s')"

laws: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/pytest tests/laws

web:
	@cd web && npm ci --no-audit --no-fund --loglevel=error && npm test && npm run build

docs: $(READY)
	@$(BIN)/zensical build --clean --strict

venv: $(READY)

$(READY): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c "import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		f'Morphem needs Python 3.11 or later, found {v.major}.{v.minor}: make PYTHON=/path/to/python3.11 ...')"
	@echo "installing into .venv (a few minutes the first time)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(PIP) --no-deps torch
	@$(PIP) -e ".[test,dev,docs,cryosparc]"
	@touch $@

clean:
	rm -rf demo dist build site web/node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache
