"""The kernel of a machine as QEMU takes it with the least work: unpacked, since emulation unpacks it for seconds.

Where it lies in a bzImage is told by the header at 0x1f1 (Documentation/arch/x86/boot.rst: setup_sects, payload_offset,
payload_length). QEMU starts an ELF image by its PVH note, which every kernel with CONFIG_PVH has.
"""

from __future__ import annotations

import struct
import subprocess

_SECTOR = 512
_ZSTD = b"\x28\xb5\x2f\xfd"


def unpacked(image: bytes) -> bytes:
    """The ELF image that is packed in a bzImage."""
    sectors = image[0x1F1] + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = sectors * _SECTOR + offset
    # The last four bytes are the size of what is unpacked.
    payload = image[start : start + length - 4]
    if not payload.startswith(_ZSTD):
        raise ValueError(f"the kernel is packed by something other than zstd: {payload[:8].hex()}")
    return subprocess.run(["zstd", "-q", "-d", "-c"], input=payload, capture_output=True, check=True).stdout
