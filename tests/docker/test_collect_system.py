"""The rules that find the libraries and packages for the system layer."""

import collect_system


def test_shared_libraries_are_the_versioned_ones_in_use_that_a_package_lists() -> None:
    listing = """/.
/usr/lib/x86_64-linux-gnu
/usr/lib/x86_64-linux-gnu/libm.so.6
/usr/lib/x86_64-linux-gnu/libmvec.so.1
/usr/lib/x86_64-linux-gnu/libstdc++.so.6
/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.33
/usr/lib/x86_64-linux-gnu/gconv/gconv-modules
/usr/share/doc/libc6/copyright
"""
    assert collect_system.shared_libraries(listing) == [
        "/usr/lib/x86_64-linux-gnu/libm.so.6",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    ]


def test_linked_libraries_are_those_that_ldd_found_and_the_loader() -> None:
    report = """/usr/local/bin/python:
\tlinux-vdso.so.1 (0x00007ffc)
\tlibpython3.13.so.1.0 => /usr/local/lib/libpython3.13.so.1.0 (0x00007f01)
\tlibnothere.so.1 => not found
\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)
/usr/lib/libstatic.so:
\tstatically linked
"""
    assert collect_system.linked_libraries(report) == [
        "/usr/local/lib/libpython3.13.so.1.0",
        "/lib64/ld-linux-x86-64.so.2",
    ]


def test_packages_are_searched_by_file_name_and_gcc_s_licence_as_well() -> None:
    assert collect_system.search_patterns(["/lib/x86_64-linux-gnu/libm.so.6"]) == [
        "*/libm.so.6",
        "/usr/share/doc/gcc-*-base/copyright",
    ]


def test_owners_are_named_without_their_architecture() -> None:
    search = """libc6:amd64: /usr/lib/x86_64-linux-gnu/libm.so.6
libstdc++6:amd64: /usr/lib/x86_64-linux-gnu/libstdc++.so.6
python3.13-minimal: /usr/bin/python3.13
gcc-14-base:amd64: /usr/share/doc/gcc-14-base/copyright
"""
    assert collect_system.owners(search) == {
        "gcc-14-base",
        "libc6",
        "libstdc++6",
        "python3.13-minimal",
    }
