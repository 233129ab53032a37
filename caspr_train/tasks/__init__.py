"""What embeddings are for: one module a task, measured and scored by the same protocol.

DataFrames in, long DataFrames out. The dbt-python models call these functions and nothing else. This package imports
numpy, pandas, scikit-learn, lightgbm, implicit and, where it is installed, pymc-marketing: never torch, duckdb or dbt,
so a warehouse's Python can run it.
"""

# dbt runs Python models in threads of one process, and two threads that import scikit-learn by different ways find it
# half made ("partially initialized module"). Whoever imports any of these modules waits until this one is done.
import sklearn.cluster
import sklearn.ensemble
import sklearn.linear_model
import sklearn.metrics  # noqa: F401
