# Everything here works on a fresh machine that has Python 3.11 or newer and make.
# PYTHON=python3.12 make test works beside it: each Python has its own environment.

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv/$(or $(VERSION),none)
BIN := $(VENV)/bin
PY := $(BIN)/python

# One test worker a core; each keeps XLA to one thread, so that they do not fight.
WORKERS ?= auto
TEST_XLA_FLAGS ?= --xla_cpu_multi_thread_eigen=false
PYTEST := JAX_PLATFORMS=$${JAX_PLATFORMS-cpu} XLA_FLAGS="$(TEST_XLA_FLAGS) $$XLA_FLAGS" \
  $(PY) -m pytest
ARGS ?=
OLDER ?= python3.11
NEWER ?= python3.12

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow lint format bench bench-gpu docs docs-serve release-check constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo
	@echo '  PYTHON=python3.12 make test   another Python (3.11 or newer)'
	@echo '  make demo ARGS="--length 20"  options for the command behind it'

demo: $(VENV)/.experiments ## train on a task that plain SGD cannot solve; table and pictures in demo/
	@$(BIN)/optax-ltd demo $(ARGS)

test: $(VENV)/.test ## the fast tests, with the README and every docstring's example
	@$(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

test-slow: $(VENV)/.test ## the tests that take minutes, with the guides and notebooks
	@$(PYTEST) -n $(WORKERS) --dist worksteal -m slow $(ARGS)

lint: $(VENV)/.test ## formatting, lint and types
	@$(PY) -m ruff format --check
	@$(PY) -m ruff check
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY)

format: $(VENV)/.test ## put the code in shape
	@$(PY) -m ruff check --fix-only
	@$(PY) -m ruff format

bench: $(VENV)/.bench ## run the benchmarks on the CPU and write their tables anew
	@JAX_PLATFORMS=$${JAX_PLATFORMS-cpu} $(PY) -m benchmarks $(ARGS)

bench-gpu: $(VENV)/.bench-gpu ## those of a GPU, in less than eight minutes
	@$(PY) -m benchmarks.accelerator $(ARGS)

docs: $(VENV)/.docs ## the site, in site/html/, with its notebooks executed
	@JAX_PLATFORMS=$${JAX_PLATFORMS-cpu} $(PY) -m sphinx -W --keep-going \
	  -c docs -d site/pages $(ARGS) . site/html

docs-serve: docs ## the site at http://localhost:8000
	@$(PY) -m http.server --directory site/html --bind 127.0.0.1 8000

release-check: ## build sdist and wheel into dist/, and use them in empty environments
	@$(PYTHON) .ci/release_check.py $(ARGS)

constraints: ## pin the newest versions that both Pythons resolve to
	@$(OLDER) .ci/constraints.py $(OLDER) $(NEWER) > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the environments and everything made
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .benchmarks demo site dist

# An environment is sound between installs only. One that an interrupted or failed
# install left behind has no `.sound` and is made anew.
$(VENV)/.%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'optax_ltd needs Python 3.11 or newer; "$(PYTHON)" is $(or $(VERSION),missing).'; \
	  echo 'Name another one: PYTHON=python3.12 make $(or $(MAKECMDGOALS),test)'; exit 1; } >&2
	@if ! { [ -e $(VENV)/.sound ] && $(PY) -c ''; } 2>/dev/null; then \
	  echo 'Making $(VENV)'; rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); fi
	@rm -f $(VENV)/.sound
	@echo 'Installing optax_ltd[$*] in $(VENV)'
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip install --quiet \
	  -c constraints.txt --editable '.[$*]'
	@touch $(VENV)/.sound $@
