"""ovlay's own code as one zip archive, for a Python that must not read it from where a user can write.

    python -m ovlay.elevate.bundle FILE

writes the helper as a program of its own, for a distribution to install as /usr/libexec/ovlay-helper.
"""

from __future__ import annotations

import os
import sys

INTERPRETER = "/usr/bin/python3"
"""The system's Python: root owns it, along its whole path."""

FLAGS = "-IBS"
"""Isolated from PYTHON* and the user's site directory, writing no bytecode, and without site-packages: python(1)."""

OLDEST = (3, 11)

_NEEDED = ("pathspec",)
"""What ovlay needs of others in the helper: it has no site-packages."""

_LEFT_OUT = ("ovlay.cli", "ovlay.testing", "ovlay.bkt", "ovlay.__main__")

_MAIN = "import os\nos.environ.clear()\nfrom ovlay.elevate.helper import main\nmain()\n"

TOO_OLD = "ovlay needs Python"

LOADER = f"""\
import os
os.environ.clear()
import hashlib, socket, sys
if sys.version_info < {OLDEST}:
    sys.exit("{TOO_OLD} 3.11 or newer, and " + sys.executable + " is " + sys.version.split()[0])
end = socket.socket(fileno=os.dup(0))
_, (sent,), _, _ = socket.recv_fds(end, 1, 1)
code = b""
while chunk := os.pread(sent, 1 << 20, len(code)):
    code += chunk
if hashlib.sha256(code).hexdigest() != sys.argv[1]:
    sys.exit("ovlay: this is not the code that was authorised")
file = os.memfd_create("ovlay")
with open(file, "wb", closefd=False) as stream:
    stream.write(code)
sys.path.insert(0, "/proc/self/fd/%d" % file)
from ovlay.elevate.helper import main
main()
"""
"""What the helper is started with: it takes its code from its standard input, and only the code of that digest.

It stands on the command line, which is what sudo logs and what polkit asks about. The environment is cleared before
anything reads it: OpenSSL, which hashlib loads, takes the modules that OPENSSL_CONF names (openssl.cnf(5)).
"""


def bundled_code() -> bytes:
    """The modules that a plan needs, as a zip archive; the same code gives the same bytes."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, source in _modules():
            archive.writestr(zipfile.ZipInfo(name), source)
    return buffer.getvalue()


def write_program(path: str) -> None:
    """Write the helper as an executable file."""
    with open(path, "wb") as stream:
        stream.write(f"#!{INTERPRETER} {FLAGS}\n".encode() + bundled_code())
        os.fchmod(stream.fileno(), 0o755)


def _modules() -> list[tuple[str, str]]:
    """The name in the archive and the text of each module, sorted."""
    from importlib import import_module
    from pkgutil import walk_packages

    found = [("__main__.py", _MAIN)]
    for package in map(import_module, ("ovlay", "ovlay_backends", *_NEEDED)):
        specs = [package.__spec__]
        prefix = f"{package.__name__}."
        for module in walk_packages(package.__path__, prefix):
            if not module.name.startswith(_LEFT_OUT):
                specs.append(module.module_finder.find_spec(module.name, None))
        for spec in specs:
            if spec is None or spec.loader is None or (source := spec.loader.get_source(spec.name)) is None:  # type: ignore[attr-defined]
                raise ImportError(f"the source of {spec.name if spec else package.__name__} cannot be read")
            inside = spec.name.replace(".", "/")
            package_file = spec.submodule_search_locations is not None
            found.append((f"{inside}/__init__.py" if package_file else f"{inside}.py", source))
    return sorted(found)


if __name__ == "__main__":
    write_program(sys.argv[1])
