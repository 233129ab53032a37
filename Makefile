# `make` alone prints the targets. Everything runs in .venv, which the first target that needs it makes.
comma  := ,
PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
# What is installed beside the package's own needs: EXTRAS=dev,postgres,spark brings the tests on those warehouses.
EXTRAS ?= dev
# Files of tests, or other words for pytest: all tests if none are given.
TESTS  ?=
STAMP  := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

EXAMPLES := $(addprefix example-,online-retail cdnow oulad rev2-bitcoin-otc kkbox instacart google-store)

.DEFAULT_GOAL := help
.PHONY: help install demo test bench-sql dialects lint $(EXAMPLES) example-rev2 clean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with everything in it (the other targets do it by themselves)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "caspr needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "==> installing into $(VENV) (torch first, then the rest; once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || { \
	  echo "lightgbm does not import: it needs the system library libgomp1 (Debian, Ubuntu: apt-get install libgomp1)" >&2; exit 2; }
	@touch $@

demo: $(STAMP) ## the simulated shop: build the marts, train, score, print the table
	@echo "==> 1/3 dbt build: raw tables to sequences and features, and predictions from what there is (at first RFM alone)"
	$(BIN)/dbt build --quiet
	@echo "==> 2/3 caspr_train: sequences to embeddings"
	$(BIN)/python -m caspr_train
	@echo "==> 3/3 dbt build: predictions with the embeddings beside RFM"
	$(BIN)/dbt build --quiet --select source:caspr_trained+
	$(BIN)/python -m caspr_train report

# Two files of tests at a time, a thread each: most of a test's time is one dbt process after another.
test: export OMP_NUM_THREADS := 1
test: $(STAMP) ## every test: dbt unit and data tests, pytest, the whole road in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

bench-sql: $(STAMP) ## what the SQL costs at 100 thousand and a million customers, against one flat sort (half an hour, 8 GiB of disk)
	$(BIN)/python -m benchmarks.sql

dialects: .dialects/.installed ## .dialects with dbt's adapters for Snowflake, BigQuery, Databricks and Redshift: `make test` then parses their SQL

# In an environment of their own: they want other versions than this project runs on.
.dialects/.installed: constraints-dialects.txt
	@echo "==> installing four adapters into .dialects (850 MB, once)"
	@test -x .dialects/bin/python || $(PYTHON) -m venv .dialects
	.dialects/bin/pip install --quiet -c constraints-dialects.txt dbt-core dbt-snowflake dbt-bigquery dbt-databricks dbt-redshift
	@touch $@

# The same whatever the shell's variables say, and without a trace in anybody's database or target folder.
lint: export CASPR_TARGET := duckdb
lint: export CASPR_DUCKDB_PATH := :memory:
lint: export DBT_TARGET_PATH := .lint/target
lint: export DBT_LOG_PATH := .lint/logs
lint: export COLUMNS := 200
lint: $(STAMP) .lint/.installed ## ruff, mypy, dbt parse without a warning, dbt-bouncer, sqlfluff; in .lint, an environment of its own
	.lint/bin/ruff check
	.lint/bin/ruff format --check
	.lint/bin/mypy --python-executable $(BIN)/python
	@# From the start: of a file that an earlier parse has read dbt warns no more.
	.lint/bin/dbt --quiet --warn-error parse --no-partial-parse
	.lint/bin/dbt-bouncer
	.lint/bin/sqlfluff lint --processes 0 models tests

# In an environment of their own: they pin what this project lets float.
.lint/.installed: constraints-lint.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make lint needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make lint PYTHON=python3.12" >&2; exit 2; }
	@echo "==> installing what reads the code into .lint (330 MB, once)"
	@test -x .lint/bin/python || $(PYTHON) -m venv .lint
	.lint/bin/pip install --quiet -r constraints-lint.txt
	@touch $@

example-online-retail: ## a real retailer's two years of invoices, all the way
example-cdnow: ## real purchases of one cohort, money and dates only, all the way
example-oulad: ## a real university's students, two streams and an observed outcome, all the way
example-rev2: example-rev2-bitcoin-otc ## accounts that rate each other, and which of them are frauds, all the way
example-kkbox: ## music subscriptions, all the way; needs files from Kaggle
example-instacart: ## groceries without dates, all the way; needs files from Kaggle
example-google-store: ## visits with JSON columns, all the way; needs a file from Kaggle

$(EXAMPLES): $(STAMP)
	$(MAKE) --no-print-directory -C examples/$(subst -,_,$(@:example-%=%)) BIN=$(BIN)

clean: ## remove the demo's database, runs and dbt's output; keeps .venv
	rm -rf caspr.duckdb caspr.duckdb.wal runs target logs
