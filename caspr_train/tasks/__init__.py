"""What embeddings are for: one module a task, each with `score(...)` and `performance(scores, labels)`.

DataFrames in, long DataFrames out. The dbt-python models call these functions and nothing else. This package imports
numpy, pandas, scikit-learn and lightgbm only: never torch, duckdb or dbt, so a warehouse's Python can run it.
"""
