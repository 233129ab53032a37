import pytest

from tests.projects import ROOT, Project


@pytest.fixture(scope="module")
def demo_project(tmp_path_factory) -> Project:
    """This project itself, with the demo shop; its database and dbt's output lie elsewhere."""
    return Project(ROOT, tmp_path_factory.mktemp("demo"), unit_tests=True, whole_learners=True)
