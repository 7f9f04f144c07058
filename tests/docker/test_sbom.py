"""What the software bill of materials says of an image's files."""

import json

import pytest
import sbom

NUMPY = sbom.Package(
    "numpy",
    "2.4.6",
    "pypi",
    "BSD-3-Clause",
    frozenset({"/site/numpy/a.py", "/bytecode/site/numpy/a", "/licences/"}),
)


@pytest.mark.parametrize(
    "path",
    ["/site/numpy/a.py", "/licences/numpy.txt", "/bytecode/site/numpy/a.cpython-313.pyc"],
    ids=["file", "in a directory", "byte code"],
)
def test_a_file_of_a_package_is_owned(path: str) -> None:
    assert sbom.unowned(iter([path]), [NUMPY]) == []


@pytest.mark.parametrize("path", ["/site/numpy/b.py", "/bytecode/site/numpy/b.cpython-313.pyc"])
def test_a_file_of_no_package_is_named(path: str) -> None:
    assert sbom.unowned(iter([path]), [NUMPY]) == [path]


def test_an_entry_has_the_version_and_the_address_that_scanners_know() -> None:
    entry = sbom.document([NUMPY])["packages"]
    assert '"versionInfo": "2.4.6"' in json.dumps(entry)
    assert '"referenceLocator": "pkg:pypi/numpy@2.4.6"' in json.dumps(entry)


def test_the_document_is_the_same_with_the_same_source_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert sbom.document([NUMPY]) == sbom.document([NUMPY])
