"""What embeddings are for: one module a task, measured and scored by the same protocol.

DataFrames in, long DataFrames out. The dbt-python models call these functions and nothing else. This package imports
numpy, pandas, scikit-learn, lightgbm, implicit and, where it is installed, pymc-marketing: never torch, duckdb or dbt,
so a warehouse's Python can run it.
"""
