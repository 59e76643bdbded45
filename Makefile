# Needs Python 3.11 or newer and make. Each target sets up what it needs in .venv; the second time that is instant.

PYTHON ?= python3
PORT ?= 8000
MINISTACK := 1.5.33
CHECKOV := 3.3.30
KEYSTEAD_HOME ?= .keystead

BIN := .venv/bin
UV := $(CURDIR)/$(BIN)/uv
COMPILE := $(UV) pip compile -q $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock' pyproject.toml

.PHONY: help setup run serve backup restore test fmt lint types check vectors contract ministack checkov lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: .venv/dev ## Install everything for development

$(if $(filter-out softhsm,$(HSM)),$(error HSM is softhsm, or not said))
# A home whose keys are in SoftHSM2 stays with it.
ON_HSM = $(if $(filter softhsm,$(or $(HSM),$(if $(wildcard $(KEYSTEAD_HOME)/softhsm),softhsm))),\
	$(BIN)/python -m tools.softhsm "$(KEYSTEAD_HOME)")

run serve: export KEYSTEAD_HOME := $(KEYSTEAD_HOME)
run: .venv/run ## Serve on 127.0.0.1:PORT (8000); HSM=softhsm keeps the keys in SoftHSM2
	PORT=$(PORT) $(ON_HSM) \
		$(BIN)/chalice local --no-autoreload --stage local --host 127.0.0.1 --port $(PORT)

serve: .venv/serve ## Serve on 127.0.0.1:PORT (8000) as a production server: workers, TLS, metrics (docs/operations.md)
	PORT=$(PORT) $(ON_HSM) $(BIN)/python -m chalicelib.serve

backup: .venv/run ## Back up KEYSTEAD_HOME while it runs: FILE=path [PASSPHRASE_FILE=path]
	$(BIN)/python -m chalicelib.backup create "$(FILE)" $(if $(PASSPHRASE_FILE),--passphrase-file "$(PASSPHRASE_FILE)")

restore: .venv/run ## Restore a backup into an empty KEYSTEAD_HOME: FILE=path [PASSPHRASE_FILE=path]
	$(BIN)/python -m chalicelib.backup restore "$(FILE)" $(if $(PASSPHRASE_FILE),--passphrase-file "$(PASSPHRASE_FILE)")

test: .venv/dev ## Run the tests with the coverage gate; ARGS="-k name" narrows them, HSM=softhsm puts SoftHSM2 underneath
	$(BIN)/pytest -n auto $(if $(HSM),--hsm $(HSM)) $(if $(ARGS),$(ARGS),--cov --cov-report=term)

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

checkov: .venv-checkov/$(CHECKOV) ## Install the checker of the AWS template that a test uses

lock: $(UV) ## Write the lock files; UPGRADE=--upgrade takes the newest versions
	$(call compile,.)

clean: ## Remove environments and caches, but no data
	rm -rf .venv .venv-ministack .venv-checkov .*_cache .hypothesis .coverage .coverage.*
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
	$(UV) pip install -q --python $(BIN)/python -r requirements.txt chalice shamir-mnemonic -c requirements-dev.txt
	@touch $@

.venv/serve: requirements.txt requirements-dev.txt | $(UV)
	$(UV) pip install -q --python $(BIN)/python -r requirements.txt granian prometheus-client shamir-mnemonic -c requirements-dev.txt
	@touch $@

.venv/dev: requirements.txt requirements-dev.txt | $(UV)
	$(UV) pip sync -q --python $(BIN)/python requirements-dev.txt
	@touch .venv/run .venv/serve $@

# Apart from .venv: its dependencies are not ours.
.venv-ministack/$(MINISTACK): | $(UV)
	$(UV) venv -q --clear --python $(BIN)/python .venv-ministack
	$(UV) pip install -q --python .venv-ministack/bin/python ministack==$(MINISTACK)
	@touch $@

.venv-checkov/$(CHECKOV): | $(UV)
	$(UV) venv -q --clear --python $(BIN)/python .venv-checkov
	$(UV) pip install -q --python .venv-checkov/bin/python checkov==$(CHECKOV)
	@touch $@

.PHONY: package
package: .venv/run ## Build a stage for AWS in dist/keystead-STAGE/; STAGE=prod unless said otherwise
	$(BIN)/python -m tools.package $(or $(STAGE),prod)
