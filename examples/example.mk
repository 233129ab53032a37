# What the Makefiles of the examples share: the road from files to the table. An example sets these, then includes this file.
#   EXAMPLE   its folder, as errors call it
#   VARIABLE  the dbt variable that says where the data is
#   DEFAULT   the place of the data if nobody gives DATA; a relative one begins at the example's folder
#   FILES     the files that must be there, below DATA; none where DATA itself is the file
#   SOURCE    what the data is and where it comes from, for the error when it is missing
# To be given: BIN, where dbt and python with caspr_train are; DATA, the place of the data.
BIN  ?= $(abspath ../../.venv/bin)
DATA ?= $(DEFAULT)

WANTED := $(if $(FILES),$(addprefix $(DATA)/,$(FILES)),$(DATA))
# Other variables than last time make dbt parse the whole project again, so they are given only where they differ from the project's.
VARS := $(if $(filter-out $(DEFAULT),$(DATA)),--vars '{"$(VARIABLE)": "$(DATA)"}')

.DEFAULT_GOAL := all
.PHONY: all seeds check clean

all: check
	@echo "==> 1/5 dbt deps: this project installs the package caspr from ../.."
	$(BIN)/dbt deps --quiet
	@echo "==> 2/5 dbt build: $(DATA) to clean activities, to marts, to predictions from RFM alone"
	$(BIN)/dbt build --quiet $(VARS)
	@echo "==> 3/5 caspr_train: sequences of activities to embeddings of customers"
	$(BIN)/python -m caspr_train
	@echo "==> 4/5 dbt build: predictions with the embeddings beside RFM"
	$(BIN)/dbt build --quiet --select source:caspr_trained+ $(VARS)
	@echo "==> 5/5 caspr_train report: how well it was predicted"
	$(BIN)/python -m caspr_train report

seeds: check ## after `make`: train and measure over five seeds; the table shows them from then on
	$(BIN)/python -m caspr_train evaluate --seeds 5
	$(BIN)/dbt build --quiet --select source:caspr_trained+ $(VARS)
	$(BIN)/python -m caspr_train report

check:
	@test -x $(BIN)/dbt || { echo "$(EXAMPLE): no dbt in $(BIN); run \`make install\` in the repository's root, or name another folder with BIN=" >&2; exit 2; }
	@for file in $(WANTED); do test -f "$$file" || { \
	  echo "$(EXAMPLE): no file $$file; it is $(SOURCE), see README.md; name its place with DATA=/path/to/$(notdir $(DEFAULT))" >&2; exit 2; }; done

clean: ## remove what a run leaves here
	rm -rf $(EXAMPLE).duckdb $(EXAMPLE).duckdb.wal runs target logs dbt_packages package-lock.yml
