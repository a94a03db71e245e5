# make demo | make test | make check | make bench: each sets up .venv by itself. Needs Python >= 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test browser check bench parity tables docs lock clean

demo: $(READY)
	$(BIN)/snnguard demo

# As many processes as cores, each with one thread: the tests are small, and more threads would only get in each other's way.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

check: $(READY)
	$(BIN)/ruff check src tests benchmarks results examples docs/_hooks
	$(BIN)/ruff format --check src tests benchmarks results examples docs/_hooks
	$(BIN)/mypy

# The report in Chromium or Chrome; `make test` leaves these out where there is none, this one fails.
browser: $(READY)
	SNNGUARD_BROWSER_REQUIRED=1 $(BIN)/pytest tests/report/test_browser.py

# Speed beside other libraries, in the environment of `make parity`; half an hour on two cores, and nothing else should run.
bench: .venv-parity/.ready
	.venv-parity/bin/python -W ignore benchmarks/speed.py
	.venv-parity/bin/python benchmarks/step_cost.py
	.venv-parity/bin/python benchmarks/where_time_goes.py
	.venv-parity/bin/python benchmarks/convolutions.py
	.venv-parity/bin/python benchmarks/declined.py

# Parity with independent libraries, and the Triton kernels in Triton's interpreter, in an environment of its own.
parity: .venv-parity/.ready
	.venv-parity/bin/pytest tests/parity --figures benchmarks/parity.json
	TRITON_INTERPRET=1 OMP_NUM_THREADS=1 .venv-parity/bin/pytest tests/neurons/test_kernels.py tests/neurons/test_normalising_kernels.py
	.venv-parity/bin/pytest tests/neurons/test_gpu.py

# The README's results table, made anew from results/.
tables: $(READY)
	$(BIN)/python results/make_tables.py

# The site of docs/, with reference, command line and deviations made from the source: site/index.html. Needs no network.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "SNNGuard needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv-parity/.ready: requirements.lock requirements-parity.lock requirements-parity-nodeps.lock pyproject.toml
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv-parity/bin/pip install --quiet --disable-pip-version-check -r requirements-parity.lock
	.venv-parity/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-parity-nodeps.lock
	.venv-parity/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# New versions of what pyproject.toml asks for; torch stays at its pin, which is raised by hand.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0 ".[dev]"
	{ head -1 requirements.lock; .venv-lock/bin/pip freeze --exclude snnguard | sed 's/^\(torch==[0-9.]*\)+.*/\1/'; } > requirements.new
	mv requirements.new requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-parity .venv-lock build site
