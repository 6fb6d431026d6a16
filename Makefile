# `make demo` and `make test` set up everything on a fresh machine with Python 3.11, git and make.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SITE = $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PIP := $(BIN)/python -m pip --disable-pip-version-check

SLURM_TESTS = tests/slurm
BROWSER_TESTS = tests/report/test_page_browser.py
SLURM = munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins \
  slurmdbd slurm-wlm-mysql-plugin mariadb-server

.PHONY: help demo test test-slurm test-browser lint unit benchmarks readme venv lock clean-venv

help:
	@echo "make demo   install into .venv and run the demo suite to its leaderboard"
	@echo "make test   install into .venv, check style, types and layers, run all tests"
	@echo "make test-slurm  the tests on a SLURM cluster that they start (root; installs Debian's SLURM)"
	@echo "make test-browser  the tests of the page in a browser (installs Debian's chromium if root)"
	@echo "make lint   the checks without the tests"
	@echo "make unit   the tests without the checks"
	@echo "make benchmarks  the speed figures that this machine can give"
	@echo "make readme  put the table of results/demo-ssl into the README"
	@echo "make venv   only install"
	@echo "make lock   pin the newest versions again (needs uv)"

demo: $(STAMP)
	$(BIN)/mae-bench run --suite demo

test: lint unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# One after the other: they share a cluster, and watch what happens when.
test-slurm: $(STAMP)
	@{ command -v sbatch && command -v slurmdbd && command -v mariadbd; } >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "SLURM is not installed, and only root can install it"; exit 1; }; \
	  apt-get update --quiet --quiet; \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $(SLURM); }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm $(SLURM_TESTS)

test-browser: $(STAMP)
	@command -v chromium >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "chromium is not installed, and only root can install it"; exit 1; }; \
	  apt-get update --quiet --quiet; \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends chromium; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser $(BROWSER_TESTS)

benchmarks: $(STAMP)
	$(BIN)/python benchmarks/all.py

readme: $(STAMP)
	$(BIN)/python docs/readme_table.py

venv: $(STAMP)

# Written last, so that an interrupted installation starts again. --no-deps: the lock is complete,
# and two packages ask for more than they need (see requirements-override.txt, detectron2's lock).
$(STAMP): requirements.lock requirements-detectron2.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "mae-bench needs Python 3.11, and there is no $(PYTHON); install it or pass PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "mae-bench is locked for Python 3.11, and $(PYTHON) is another; pass PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-deps --require-hashes --upgrade --target $(SITE) \
	  --python-version 3.10 --implementation cp --abi cp310 --abi none --only-binary=:all: \
	  --requirement requirements-detectron2.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/mae-bench doctor
	touch $@

lock:
	uv pip compile requirements.in --override requirements-override.txt --generate-hashes \
	  --python-version 3.11 --no-header --no-annotate --no-emit-package mae-bench \
	  --output-file requirements.lock

clean-venv:
	rm -rf $(VENV)
