export PYTHONSAFEPATH = 1
# Where that is set, each process would compile anew all that it imports: half of an engine's start.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
BIN = .venv/bin
# uv where there is one, for speed; pip installs the same files, checked by the same hashes.
INSTALL = $(if $(shell command -v uv),\
	uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-config,\
	$(BIN)/python -m pip install --quiet --disable-pip-version-check) --no-deps
# A file's tests share its mesh. Without order by size the clients' long files come first, not last.
SHARED = $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# Tests of what a mesh does in time have a core each; those of clients only ask.
WHOLE = $(wildcard tests/mesh/. tests/faults/. tests/security/. tests/ranks/.)
CHAOS = tests/faults/test_chaos.py
LOCK = uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --exclude-newer "7 days" --custom-compile-command "make lock"
LOCK_ALL = $(LOCK) --group build --group model pyproject.toml

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/run.stamp ## create .venv and install what runs

run: setup ## start everything: make run ARGS="--port 8123 --home DIR"
	@exec $(BIN)/odyssai up $(ARGS)

test: .venv/dev.stamp ## all tests: make test, or some: make test ARGS="-k supervisor"
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(SHARED) -n 3 $(filter-out $(WHOLE),$(wildcard tests/*/.))
	$(SHARED) -n 2 $(WHOLE) --ignore=$(CHAOS)
endif

chaos: .venv/dev.stamp ## two minutes of random faults under load, every token checked
	$(BIN)/python -m pytest $(CHAOS)

check: .venv/dev.stamp ## format, lint, who imports whom, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy

lock: ## renew the lock files; releases younger than a week are left out (needs uv)
	$(LOCK_ALL) -o requirements-dev.lock --group dev
	$(LOCK_ALL) -o requirements.lock
	$(LOCK) --group audit -o requirements-audit.lock

audit: .venv-audit/stamp ## known weaknesses of what is installed, where a database can be reached
	.venv-audit/bin/pip-audit -r requirements.lock --require-hashes --disable-pip

sbom: .venv-audit/stamp ## what odyssai is made of, as sbom.cdx.json (CycloneDX)
	.venv-audit/bin/cyclonedx-py requirements requirements.lock --output-reproducible \
		--pyproject pyproject.toml -o sbom.cdx.json

sizes: ## the ten longest files and functions; never fails
	@python3 ops/sizes.py

clean: ## remove .venv and everything made
	rm -rf .venv .venv-audit sbom.cdx.json build dist *.egg-info .*_cache .hypothesis

.venv/run.stamp: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing into .venv; the first time takes about a minute"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing into .venv, with what tests need"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@$(INSTALL) --no-build-isolation -e .
	@touch .venv/run.stamp $@

.venv-audit/stamp: requirements-audit.lock
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes -r requirements-audit.lock
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "odyssai needs Python 3.11 or newer, with venv." \
	"macOS: brew install python@3.13 · Debian, Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.PHONY: help setup run test chaos check lock audit sbom sizes clean
.DEFAULT_GOAL = help
