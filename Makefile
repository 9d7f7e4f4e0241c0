# One word per thing a developer does here. Everything lives in .venv; nothing outside the tree is touched.

PY := .venv/bin/python
PYTEST_ARGS ?=
# A hung run is interrupted so that pytest can still say where it hung; coreutils' timeout is not on every machine.
LIMIT := $(shell command -v timeout >/dev/null 2>&1 && echo timeout --foreground --signal=INT --kill-after=20 800)

.DEFAULT_GOAL := help
SEED ?=
FAULTS ?= 1000
MINUTES ?= 10

.PHONY: build demo test check bench faults soak clean help
.NOTPARALLEL:

build: .venv/.built ## make .venv with peergate and its tools in it

.venv/.built: pyproject.toml uv.lock .ci/venv
	@.ci/venv
	@touch $@

demo: build ## show what peergate does, offline, in a minute
	@.venv/bin/peergate demo

check: build ## lint, format, types, import contracts
	@.venv/bin/ruff check --quiet --output-format=concise
	@.venv/bin/ruff format --check --quiet || { echo "format: run '.venv/bin/ruff format'" >&2; .venv/bin/ruff format --check >&2; exit 1; }
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo

test: check ## check, then every test
	@$(LIMIT) $(PY) -m pytest --numprocesses=2 --dist=loadfile --durations=10 --durations-min=1 $(PYTEST_ARGS)

bench: build ## measure the budgets and print them as a table (ONLY=rpc, … for some of them)
	@$(PY) -m tests.bench $(if $(ONLY),--only $(ONLY))

faults: build ## kill, stop, cut and fill at random while agents work; say what was lost (SEED=… FAULTS=n)
	@$(PY) -m tests.faults --seed "$(SEED)" --faults $(FAULTS)

soak: build ## MINUTES=n of steady work; memory and descriptors over time
	@$(PY) -m tests.faults --seed "$(SEED)" --soak $(MINUTES)

clean: ## remove .venv and every cache
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist htmlcov .coverage .coverage.*
	@find gateway supervisor agentproc tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## say what each word does
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r word what; do printf 'make %-8s %s\n' "$$word" "$$what"; done
