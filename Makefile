# make demo and make test need Python >= 3.11 and make, from an empty clone; they make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
JAVASCRIPT := evalpipe_tests/web/javascript
# Tests that run side by side, each worker with some 700 MB; one file is quicker without: pytest FILE.
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: demo test up lint format bench bench-ingest bench-triage bench-generate bench-lifecycle bench-gate clean

demo: .venv/installed
	$(BIN)/evalpipe demo

test: .venv/installed-dev $(JAVASCRIPT)/node_modules/installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

up: .venv/installed
	$(BIN)/evalpipe up

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-dev
	$(BIN)/python -m evalpipe_tests.bench

# BENCH_PEERS=DIR also sends the payloads to the peers installed there, DIR/venv-phoenix and DIR/venv-mlflow.
bench-ingest: .venv/installed-dev
	$(BIN)/python -m evalpipe_tests.bench_ingest --out docs/performance.md

# REAL=DIR also reads the annotated traces there: DIR/traces/*.otlp.jsonl.gz and DIR/annotations/*.jsonl.
bench-triage: .venv/installed-dev
	$(BIN)/python -m evalpipe_tests.bench_triage --out docs/triage.md $(if $(REAL),--real $(REAL))

# REAL=DIR also generates from the annotated traces there, as above. BENCH_PEERS=DIR also evolves the judges of the peers
# installed there, DIR/venv-mlflow and DIR/venv-evidently. JOBS=2 runs two at once.
bench-generate: .venv/installed-dev
	$(BIN)/python -m evalpipe_tests.bench_generate --out docs/quality.md $(if $(REAL),--real $(REAL)) $(if $(JOBS),--jobs $(JOBS))

# Its frames are small: with one thread it takes less CPU, and other work disturbs it less.
bench-lifecycle: .venv/installed-dev
	POLARS_MAX_THREADS=1 $(BIN)/python -m evalpipe_tests.bench_lifecycle --out docs/lifecycle.md

# BENCH_PEERS=DIR also runs the peers installed there with the same assertions: DIR/promptfoo (npm install promptfoo) and
# DIR/venv-deepeval. DEMO=DIR also asks by webhook, on a copy of this home that make demo made. Times are of the wall
# clock: leave the machine alone meanwhile.
bench-gate: .venv/installed-dev
	$(BIN)/python -m evalpipe_tests.bench_gate --out docs/gate.md $(if $(DEMO),--demo $(DEMO))

clean:
	rm -rf .venv build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "evalpipe needs Python 3.11 or later; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The receivers are tested with the JavaScript exporter too, where there is npm; elsewhere that test says what is missing.
$(JAVASCRIPT)/node_modules/installed: $(JAVASCRIPT)/package-lock.json
	@if command -v npm >/dev/null; then npm ci --ignore-scripts --prefix $(JAVASCRIPT) --silent --no-audit --no-fund && touch $@; fi
