"""Print the software bill of materials (SPDX 2.3, JSON) of the image that this runs in.

usage: docker run --rm --interactive --entrypoint python IMAGE - < docker/sbom.py

Its packages are Python, mnistctl, each wheel, and each Debian package that a file comes from. Fails
and names the files that belong to none of them.
"""

import json
import os
import platform
import re
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RECORDS = Path("/var/lib/dpkg/status.d")
BYTECODE = "/opt/mnistctl/bytecode"
# Of the running container, not of the image. The others are empty, or written by Docker.
SKIPPED = {"/dev", "/proc", "/sys", "/tmp", "/work", "/.dockerenv"}  # noqa: S108
SKIPPED |= {"/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}


@dataclass(frozen=True)
class Package:
    """A package of the image, and where its files are: files, or directories that end with a /."""

    name: str
    version: str
    kind: str
    licence: str
    paths: frozenset[str]

    def entry(self) -> dict[str, object]:
        """Return the package's entry of the document."""
        url = f"pkg:{self.kind}/{self.name}@{self.version}"
        return {
            "SPDXID": self.identifier,
            "name": self.name,
            "versionInfo": self.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": self.licence,
            "copyrightText": "NOASSERTION",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": url,
                }
            ],
        }

    @property
    def identifier(self) -> str:
        """The identifier in the document."""
        return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]", "-", f"{self.kind}-{self.name}")


def python() -> Package:
    """Return the entry of Python itself, which the base image may have without Debian."""
    library = sysconfig.get_path("stdlib")
    paths = {f"{library}/", f"{BYTECODE}{library}/", os.path.realpath(sys.executable)}
    paths.add(os.path.realpath(f"{library}/sitecustomize.py"))  # Debian's, in /etc
    paths |= {str(path) for path in Path("/usr/local/lib").glob("libpython*")}
    return Package("python", platform.python_version(), "generic", "Python-2.0.1", frozenset(paths))


def wheels() -> Iterator[Package]:
    """Yield the installed Python packages, mnistctl included."""
    for wheel in metadata.distributions():
        files = [Path(str(wheel.locate_file(file))).resolve() for file in wheel.files or ()]
        paths = {str(file) for file in files}
        if wheel.name == "mnistctl":  # the extension and the training set are layers of their own
            paths.add(f"{wheel.locate_file('mnistctl')}/")
        paths |= {f"{BYTECODE}{file.with_suffix('')}" for file in files if file.suffix == ".py"}
        known = "License-Expression" in wheel.metadata
        licence = wheel.metadata["License-Expression"] if known else "NOASSERTION"
        yield Package(wheel.name, wheel.version, "pypi", licence, frozenset(paths))


def debian_packages() -> Iterator[Package]:
    """Yield the Debian packages whose records are in the image."""
    for record in sorted(path for path in RECORDS.iterdir() if path.suffix != ".md5sums"):
        fields = dict(re.findall(r"^(\S+): (.*)", record.read_text(), re.M))
        paths = {str(record), f"{record}.md5sums", f"/usr/share/doc/{record.name}/"}
        for line in Path(f"{record}.md5sums").read_text().splitlines():
            paths.add(str(Path("/", line.split(maxsplit=1)[1]).resolve()))
        if record.name == "base-files":
            paths |= {"/usr/share/common-licenses/", "/etc/debian_version"}
        if record.name == "base-passwd":
            paths |= {"/etc/group", "/etc/passwd"}
        version, licence = fields["Version"], "NOASSERTION"
        yield Package(record.name, version, "deb/debian", licence, frozenset(paths))


def image_files(directory: Path = Path("/")) -> Iterator[str]:
    """Yield all files below a directory; of a link, the file that it leads to."""
    for path in directory.iterdir():
        if str(path) in SKIPPED:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from image_files(path)
        elif path.is_file():
            yield str(path.resolve())


def unowned(files: Iterator[str], packages: list[Package]) -> list[str]:
    """Return the files that belong to no package."""
    owned = frozenset().union(*(package.paths for package in packages))
    directories = tuple(path for path in owned if path.endswith("/"))
    return sorted(
        file
        for file in set(files)
        if not file.startswith(directories)
        and file not in owned
        and re.sub(r"\.[^.]+\.pyc$", "", file) not in owned
    )


def document(packages: list[Package]) -> dict[str, object]:
    """Return the document. With SOURCE_DATE_EPOCH it is the same each time."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    entries = [package.entry() for package in packages]
    unique = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([entries, str(date)]))
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "mnistctl",
        "documentNamespace": f"https://spdx.org/spdxdocs/mnistctl-{unique}",
        "creationInfo": {
            "created": f"{date:%Y-%m-%dT%H:%M:%SZ}",
            "creators": ["Tool: docker/sbom.py"],
        },
        "packages": entries,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package.identifier,
            }
            for package in packages
        ],
    }


def main() -> None:
    """Print the document."""
    packages = sorted([python(), *wheels(), *debian_packages()], key=lambda each: each.identifier)
    if missing := unowned(image_files(), packages):
        sys.exit("These files belong to no package: " + ", ".join(missing))
    print(json.dumps(document(packages), indent=2))


if __name__ == "__main__":
    main()
