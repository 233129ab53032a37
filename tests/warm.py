"""Imported by the process whose forks run dbt and the trainer: their libraries, and a parse that leaves its caches."""

import os
import tempfile
from pathlib import Path

import pandas  # noqa: F401
import pyarrow  # noqa: F401
import torch.multiprocessing  # noqa: F401
from dbt.cli.main import dbtRunner

import caspr_train.tasks.learners  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]

with tempfile.TemporaryDirectory() as scratch:
    here = os.getcwd()
    os.chdir(ROOT)
    os.environ.update({"CASPR_DUCKDB_PATH": ":memory:", "DBT_TARGET_PATH": scratch, "DBT_LOG_PATH": scratch})
    # The static parser is a library with threads, which a fork would wait for and never get.
    dbtRunner().invoke(["--quiet", "parse", "--no-static-parser"])
    os.chdir(here)
