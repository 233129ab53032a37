"""Writes tables as Parquet, read as the trainer reads them: `read_marts.py FOLDER NAME...` in a project's folder.

A name is a mart of the package, a model of the project that installs it, or `caspr_trained.TABLE`.
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq

from caspr_train.project import DbtProject
from caspr_train.warehouse import open_warehouse

folder, *marts = sys.argv[1:]
project = DbtProject.load(Path())
with open_warehouse(project).reading() as reader:
    for mart in marts:
        own = project.manifest.nodes.get(f"model.installing.{mart}")
        if mart.startswith("caspr_trained."):
            table = reader.run(f"select * from {project.source(mart.removeprefix('caspr_trained.'))}")
        else:
            table = reader.run(f"select * from {own.relation_name}") if own else reader.mart(mart)
        pq.write_table(table, Path(folder) / f"{mart}.parquet")
