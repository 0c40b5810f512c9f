# `make` lists what there is. Everything runs from .venv, which `make setup` builds; each target sets up first if needed.

export UV_PYTHON_DOWNLOADS = never
export UV_PROJECT_ENVIRONMENT = .venv
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
READY := .venv/.set-up
ARGS ?=
# One more than there are cores: tests wait as much as they work.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2) + 1)

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test lint crash long browser chromium bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="…" is passed on, as in: make test ARGS="-k sqlite -x"'

setup: $(READY) ## Put Python packages into .venv (Python 3.11 or newer; PYTHON=… picks one)
	@echo "setup: ready; next: make demo"

demo: $(READY) ## Run the hub with simulated providers; nothing to configure
	@$(BIN)/hub demo $(ARGS)

serve: $(READY) ## Run the hub with your settings
	@$(BIN)/hub serve $(ARGS)

test: $(READY) ## Run the tests in parallel, in random order, on SQLite and PostgreSQL
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/mypy

crash: $(READY) ## Kill the hub at its worst moments and look what is left (minutes)
	@$(BIN)/python -m pytest -n auto -m slow tests/crash $(ARGS)

long: $(READY) ## Search longer for what breaks the policy, at random, and run the docs' example in full (minutes)
	@$(BIN)/python -m pytest -n auto -m slow tests/policy tests/test_docs.py $(ARGS)

browser: $(READY) chromium ## Test web chat in a real browser (Debian: apt-get install chromium)
	@files=$$(grep -rl --include='test_*.py' '^from playwright' tests adapters) || { echo "browser: no tests yet"; exit 0; }; \
	$(BIN)/python -m pytest -m slow $$files $(ARGS)

bench: $(READY) ## Measure, and compare with a bare server on this machine
	@$(BIN)/python -m bench $(ARGS)

clean: ## Delete .venv, .tools and caches; settings and data stay
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find hub adapters config bench tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is used if there is one; otherwise pip puts one into .tools.
$(READY): pyproject.toml uv.lock
	@set -e; \
	for each in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	  python=$$($$each -c 'import sys; print(getattr(sys, "_base_executable", sys.executable)) if sys.version_info >= (3, 11) else exit(1)' 2>/dev/null) && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "setup: omnihub needs Python 3.11 or newer, and $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>/dev/null || echo missing)." >&2; \
	  echo "setup: install one (Debian: apt-get install python3 python3-venv), or name it: make setup PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	if uv sync --help >/dev/null 2>&1; then uv=uv; else \
	  uv=.tools/bin/uv; \
	  if ! $$uv --version >/dev/null 2>&1; then \
	    echo "setup: no uv here, so pip puts one into .tools"; \
	    rm -rf .tools; \
	    "$$python" -m venv .tools || { echo "setup: $$python cannot make a venv (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	    .tools/bin/python -m pip install --quiet --disable-pip-version-check uv; \
	  fi; \
	fi; \
	echo "setup: $$uv puts the packages of uv.lock into .venv, with $$("$$python" --version)"; \
	$$uv sync --quiet --frozen --compile-bytecode --python "$$python"; \
	touch $@

chromium:
	@for each in chromium chromium-browser google-chrome; do command -v $$each >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "browser: no chromium here, so apt-get installs one"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null && exit 0; \
	fi; \
	echo "browser: no chromium, so these tests are skipped; install it (Debian: apt-get install chromium)" >&2
