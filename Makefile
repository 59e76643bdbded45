# Needs Python 3.11 or newer and make. Each target sets up what it needs in .venv; the second time that is instant.

PYTHON ?= python3
PORT ?= 8000
MINISTACK := 1.5.33

BIN := .venv/bin
UV := $(CURDIR)/$(BIN)/uv
COMPILE := $(UV) pip compile -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock' pyproject.toml

.PHONY: help setup run test fmt lint types check vectors contract ministack lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: .venv/dev ## Install everything for development

run: .venv/run ## Serve on 127.0.0.1:PORT (8000)
	KEYSTEAD_HOME="$${KEYSTEAD_HOME:-.keystead}" PORT=$(PORT) \
		$(BIN)/chalice local --no-autoreload --stage local --host 127.0.0.1 --port $(PORT)

test: .venv/dev ## Run the tests with the coverage gate; ARGS="-k name" narrows them
	$(BIN)/pytest -n auto $(if $(ARGS),$(ARGS),--cov --cov-report=term)

fmt: .venv/dev ## Format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint: .venv/dev ## Check style, import contracts, absence of mocks, and that the locks fit pyproject.toml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	! grep -rnE --include='*.py' '^ *(from|import) unittest' tests # fakes are the real adapters
	rm -rf .venv/lock && mkdir .venv/lock && cp pyproject.toml requirements*.txt .venv/lock
	$(call compile,.venv/lock)
	diff -q requirements.txt .venv/lock/requirements.txt # differs? make lock
	diff -q requirements-dev.txt .venv/lock/requirements-dev.txt

types: .venv/dev ## Check types
	$(BIN)/mypy

check: lint types test vectors ## All that a change must pass

vectors: .venv/dev ## Rebuild the test vectors: nothing may change
	test ! -e tests/vectors/make.py || PYTHONPATH=. $(BIN)/python tests/vectors/make.py
	git diff --exit-code -- tests/vectors

contract: .venv/dev ## Run one suite over every adapter, and the stock clients
	$(BIN)/pytest -m contract

ministack: .venv-ministack/$(MINISTACK) ## Install the DynamoDB that tests use

lock: $(UV) ## Write the lock files; UPGRADE=--upgrade takes the newest versions
	$(call compile,.)

clean: ## Remove environments and caches, but no data
	rm -rf .venv .venv-ministack .*_cache .hypothesis .coverage .coverage.*
	find app.py chalicelib tests -name __pycache__ -prune -exec rm -rf {} +

define compile
	cd $(1) && $(COMPILE) -o requirements.txt
	cd $(1) && $(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt
endef

# uv installs ten times faster than pip; its own version and hashes are those of the lock.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Keystead needs Python 3.11 or newer." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > .venv/uv.txt
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt

.venv/run: requirements.txt requirements-dev.txt | $(UV)
	$(UV) pip install -q --python $(BIN)/python -r requirements.txt chalice -c requirements-dev.txt
	@touch $@

.venv/dev: requirements.txt requirements-dev.txt | $(UV)
	$(UV) pip sync -q --python $(BIN)/python requirements-dev.txt
	@touch .venv/run $@

# Apart from .venv: its dependencies are not ours.
.venv-ministack/$(MINISTACK): | $(UV)
	$(UV) venv -q --clear --python $(BIN)/python .venv-ministack
	$(UV) pip install -q --python .venv-ministack/bin/python ministack==$(MINISTACK)
	@touch $@

.PHONY: package
package: .venv/run ## Build a stage for AWS in dist/keystead-STAGE/; STAGE=prod unless said otherwise
	$(BIN)/python -m tools.package $(or $(STAGE),prod)
