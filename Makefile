# The platform on one laptop. Thin: the environments are scripts/bootstrap's work, everything else is `python -m sandbox`.
SHELL := /bin/sh
PYTHON := .venv/airflow/bin/python
LOCKS := requirements requirements-dbt requirements-superset requirements-sandbox requirements-adbc requirements-dev
export SANDBOX_SCALE := $(or $(SCALE),$(SANDBOX_SCALE))

.DEFAULT_GOAL := help
.PHONY: help connections demo demo-live up down status reset test lint lock dashboards exposures screenshots environments development

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  SCALE=1                  size of the shop for \`make demo\`: 0.1 (default) is 150 000 orders, 1 is 1 500 000"
	@echo "  SANDBOX_PORT_OFFSET=1000 moves every port    SANDBOX_VAR=/path keeps all state elsewhere"

demo: environments ## set up and start everything, run the nightly batch, show what it did
	@$(PYTHON) -m sandbox demo

demo-live: environments ## change the shop, RATE changes a second for SECONDS, and watch how the live charts follow
	@$(PYTHON) -m sandbox demo-live $(or $(RATE),100) $(or $(SECONDS),60)

up: environments ## start the platform
	@$(PYTHON) -m sandbox up

down: ## stop it; nothing of ours is left running
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m sandbox down; else echo "Nothing is installed, so nothing runs."; fi

status: ## what runs, where, and how much memory it takes
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m sandbox status; else echo "Nothing is installed: make up"; exit 1; fi

reset: ## stop it and delete all its data (asks first, unless FORCE=1)
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m sandbox reset; else rm -rf var; fi

connections: ## what setting the platform up would change in Airbyte, field by field; ARGS=apply changes it
	@$(PYTHON) -m sandbox run $(PYTHON) -m lakehouse.setup.airbyte $(or $(ARGS),plan)

dashboards: ## write what was changed on Superset's pages back into include/superset/assets, for `git diff`
	@$(PYTHON) -m sandbox run $(PYTHON) -m superset_provider.assets export include/superset/assets

test: development lint ## everything the project checks about itself, from nothing; ARGS="-k name" for a part
	@scripts/test $(ARGS)

lint: development ## style, types and SQL
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m mypy plugins include sandbox
	@$(PYTHON) -m sqlfluff lint --disable-progress-bar dbt/models dbt/tests

lock: ## resolve requirements*.in anew into the locked files
	@uv=$$(scripts/bootstrap --uv) && for name in $(LOCKS); do \
		echo "$$name.txt" && "$$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-header $$name.in -o $$name.txt || exit 1; \
	done

exposures: environments ## derive dbt's exposures from the dashboards in include/superset/assets
	@PYTHONPATH=include $(PYTHON) -m lakehouse.exposures

screenshots: development ## pictures of the running platform's dashboards, light and dark, to docs/images
	@set -a && . "$${SANDBOX_VAR:-./var}/sandbox.env" && set +a && $(PYTHON) scripts/screenshots.py

environments:
	@scripts/bootstrap

development:
	@scripts/bootstrap --dev
