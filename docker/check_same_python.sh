#!/bin/sh
# Stop the build unless this image and the one mounted at the path given have the same Python and
# Debian: what is compiled here, byte code too, runs there.
set -eu

python_of() {
    "$@" python3 -B -c 'if True:
        import platform, sysconfig
        debian = platform.freedesktop_os_release()["VERSION_CODENAME"]
        print(sysconfig.get_config_var("SOABI"), platform.python_version(), debian)
    '
}

toolchain=$(python_of env)
base=$(python_of chroot "$1")
if [ "$toolchain" != "$base" ]; then
    echo "TOOLCHAIN has $toolchain and BASE has $base: set both to images of the same Python and" \
        "Debian, and pull both." >&2
    exit 1
fi
