#!/bin/sh
# Stop the build unless this image and the one mounted at the path given have the same Python.
set -eu

python_of() {
    "$@" python3 -B -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))'
}

toolchain=$(python_of env)
base=$(python_of chroot "$1")
if [ "$toolchain" != "$base" ]; then
    echo "TOOLCHAIN has $toolchain and BASE has $base: set both to images of the same Python." >&2
    exit 1
fi
