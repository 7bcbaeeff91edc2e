# make run      the study of config.yaml, into reports/digits_noisy/
# make test     the fast tests, some minutes
# make test-all the rest: whole studies, faults, Monte Carlo; on a SLURM of their own as root
# make test-oldest  a part of the fast tests, with the oldest versions that pyproject.toml allows
# make check    style, types, layers of the package, format of the workflow
# make gpu-check    whether this machine's GPU computes what it should, into gpu-check.json
# make docs     the manual as pages of HTML: docs/_build/html/docs/index.html
# make pins     renew requirements.lock
PYTHON ?= python3.11
BIN := .venv/bin
CORES ?= all
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install run test test-all test-slow test-cluster test-oldest check gpu-check docs pins

install: $(BIN)/.installed

run: $(BIN)/.installed
	kdpipe run --cores $(CORES)

test: $(BIN)/.installed
	pytest -n 2

# Side by side, and four workers for two cores: much of the time is waiting.
test-all: $(BIN)/.installed
	$(MAKE) --jobs=2 --output-sync=target test-slow test-cluster

test-slow: $(BIN)/.installed
	pytest -n 4 --dist worksteal -m "slow and not cluster"

# SLURM 22.05 has crashed by itself here, when a killed node came back: one failure is no verdict.
test-cluster: $(BIN)/.installed
	pytest -m cluster -rs tests/workflow/test_cluster.py || \
		pytest -m cluster -rs --last-failed tests/workflow/test_cluster.py

# An environment of its own: as large as .venv. The packages that need an extra are left out.
OLDEST := .venv-oldest
OLDEST_TESTS := $(addprefix tests/unit/,config stats plan jobs losses workflow)
OLDEST_TESTS += tests/unit/analysis/test_explored_claims.py
test-oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint requirements-oldest.txt --editable . pytest hypothesis statsmodels
	PATH="$(CURDIR)/$(OLDEST)/bin:$$PATH" python -m pytest --ignore tests/unit/workflow/test_tracking.py \
		$(OLDEST_TESTS)

check: $(BIN)/.installed
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	lint-imports --no-cache
	pyright

gpu-check: $(BIN)/.installed
	kdpipe gpu-check

docs: $(BIN)/.installed
	python docs/generate.py
	sphinx-build -W --keep-going -q -c docs -b html . docs/_build/html

# Installs once, and again when the pins or the package's needs change.
$(BIN)/.installed: requirements.lock pyproject.toml
	@echo "1 of 2: an environment in .venv"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "2 of 2: kdpipe and its packages: about 6 GB, 5 to 20 minutes, and nothing is printed meanwhile"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --constraint requirements.lock --editable '.[dev]'
	touch $@

# Resolves anew from pyproject.toml, in an environment of its own.
pins:
	rm -rf .venv-pins && $(PYTHON) -m venv .venv-pins
	.venv-pins/bin/pip install --quiet --editable '.[dev]'
	.venv-pins/bin/pip freeze --exclude-editable > requirements.lock
	rm -rf .venv-pins
