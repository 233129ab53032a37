# `make` alone prints the targets. Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint example-online-retail clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv with everything in it (the other targets do it by themselves)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "caspr needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "==> installing into $(VENV) (torch first, then the rest; once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
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

test: $(STAMP) ## every test: dbt unit and data tests, pytest, the whole road in two processes
	$(BIN)/python -m pytest

lint: $(STAMP) ## ruff
	$(BIN)/ruff check caspr_train tests
	$(BIN)/ruff format --check caspr_train tests

example-online-retail: $(STAMP) ## a real retailer's two years of invoices, all the way
	$(MAKE) --no-print-directory -C examples/online_retail BIN=$(BIN)

clean: ## remove the demo's database, runs and dbt's output; keeps .venv
	rm -rf caspr.duckdb caspr.duckdb.wal runs target logs
