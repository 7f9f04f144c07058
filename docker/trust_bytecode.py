"""Mark byte code as valid without a check against its source (PEP 552).

usage: trust_bytecode.py DIRECTORY

Python ignores byte code whose source has another date, and a layer's files all get the same date.
Users of an image cannot write to it, so Python would compile the same modules at every start.
"""

import sys
from pathlib import Path

# After the magic number: four bytes of flags, and eight for the source's date and size or its hash.
UNCHECKED_HASH = (1).to_bytes(4, "little") + bytes(8)


def trusted(bytecode: bytes) -> bytes:
    """Return the content of a .pyc file with the unchecked flag and no hash."""
    return bytecode[:4] + UNCHECKED_HASH + bytecode[16:]


def main(directory: Path) -> None:
    """Mark all byte code below a directory, and delete that of the build image's own packages."""
    for path in list(directory.rglob("*.pyc")):
        if {"dist-packages", "site-packages"} & set(path.parts):
            path.unlink()
        else:
            path.write_bytes(trusted(path.read_bytes()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
