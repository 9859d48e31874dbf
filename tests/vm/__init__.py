"""A real boot: Debian on ostree under QEMU, with its own kernel and initramfs, rebooted and cut off from power."""
