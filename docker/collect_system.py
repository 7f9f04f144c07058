"""Copy Python and the libraries it links to from the base image to /system.

Leaves out the shell, the package manager, and what prune_system.txt lists. Keeps the licence of
each Debian package that a file comes from, and its record, by which scanners know the package.
"""

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from prune import prune_or_exit

SYSTEM = Path("/system")
PROGRAMS = ("env", "python", "python3")
SETTINGS = ("/etc/debian_version", "/etc/group", "/etc/os-release", "/etc/passwd")
SETTINGS_PACKAGES = {"base-files", "base-passwd"}
# Wheels may link to the libraries in these packages without shipping them (PEP 600).
WHEEL_LIBRARY_PACKAGES = ("libc6", "libstdc++6")
# Of those packages: vector mathematics, and libraries for debuggers. No wheel here links to them.
UNUSED_LIBRARIES = ("libmvec", "libthread_db", "libc_malloc_debug", "libmemusage", "libpcprofile")


def main() -> None:
    """Fill /system."""
    make_directories()
    programs = [path for name in PROGRAMS if (path := shutil.which(name))]
    standard_library = sysconfig.get_path("stdlib")
    copy(standard_library)
    copied = Path(f"{SYSTEM}{standard_library}")
    prune_or_exit(copied, Path(__file__).with_name("prune_system.txt"))
    extensions = [str(path) for path in copied.glob("lib-dynload/*.so")]
    granted = shared_libraries(output("dpkg-query", "--listfiles", *WHEEL_LIBRARY_PACKAGES))
    linked = linked_libraries(output("ldd", *programs, *extensions, *granted))
    files = {*programs, *granted, *linked}
    for path in (*files, *SETTINGS):
        copy(path)
    copy("/usr/share/common-licenses")
    found = owners(output("dpkg-query", "--search", *search_patterns(files)))
    for package in found | SETTINGS_PACKAGES:
        copy_package_record(package)
    # A fixed date makes the layer reproducible.
    touch = ("touch", "--no-dereference", "--date=@0")
    subprocess.run(["find", SYSTEM, "-exec", *touch, "{}", "+"], check=True)


def shared_libraries(listing: str) -> list[str]:
    """Return the versioned libraries among the files that dpkg lists for a package."""
    libraries = re.findall(r"^/\S+/lib\S+\.so\.\d+$", listing, re.M)
    return [path for path in libraries if Path(path).name.split(".")[0] not in UNUSED_LIBRARIES]


def linked_libraries(report: str) -> list[str]:
    """Return the files that ldd reports, the dynamic loader included."""
    return re.findall(r"(?:=> |^\t)(/\S+)", report, re.M)


def search_patterns(files: Iterable[str]) -> list[str]:
    """Return what to search dpkg's file lists for to find the packages that own the files.

    Only the names are compared: /lib is a link to /usr/lib, and dpkg may know a file by either.
    The licence of GCC's libraries is in a package of its own.
    """
    names = (os.path.basename(file) for file in files)  # noqa: PTH119
    return [*(f"*/{name}" for name in names), "/usr/share/doc/gcc-*-base/copyright"]


def owners(search: str) -> set[str]:
    """Return the packages that ``dpkg-query --search`` found, without their architecture."""
    return set(re.findall(r"^([\w.+-]+):", search, re.M))


def make_directories() -> None:
    """Create the links in / (such as /lib to /usr/lib) and the directories that users write to."""
    SYSTEM.mkdir()
    for link in filter(Path.is_symlink, Path("/").iterdir()):
        (SYSTEM / link.name).symlink_to(link.readlink())
    (SYSTEM / "work").mkdir()
    (SYSTEM / "tmp").mkdir()
    (SYSTEM / "tmp").chmod(0o1777)


def copy(path: str) -> None:
    """Copy a file or directory to the same path in /system; of a link, its target as well."""
    directory, name = os.path.split(path)
    for each in {f"{os.path.realpath(directory)}/{name}", os.path.realpath(path)}:
        subprocess.run(["cp", "--archive", "--parents", each, SYSTEM], check=True)


def copy_package_record(package: str) -> None:
    """Copy a Debian package's licence, and its records to where scanners look without dpkg."""
    record = SYSTEM / "var/lib/dpkg/status.d" / package
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(output("dpkg-query", "--status", package))
    for licence in Path("/usr/share/doc", package).glob("copyright"):
        copy(str(licence))
    for sums in Path("/var/lib/dpkg/info").glob(f"{package}[.:]*md5sums"):
        record.with_name(f"{package}.md5sums").write_text(
            "".join(line for line in sums.open() if (SYSTEM / line.split()[1]).exists())
        )


def output(*command: str) -> str:
    """Return a command's output. ldd and dpkg-query fail if only one of many files is unknown."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


if __name__ == "__main__":
    main()
