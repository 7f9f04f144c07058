"""The reader of pyproject.toml's lists of requirements."""

from requirements_of import requirements

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]

[project.optional-dependencies]
test = ["mnistctl[train]", "pytest>=8.3"]
"""


def test_a_list_is_found_by_its_keys() -> None:
    assert requirements(PYPROJECT, "build-system", "requires") == ["setuptools>=77"]


def test_mnistctl_s_own_extras_are_left_out() -> None:
    assert requirements(PYPROJECT, "project", "optional-dependencies", "test") == ["pytest>=8.3"]
