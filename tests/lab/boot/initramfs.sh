# initramfs.sh: what the initramfs does, with the image's real ostree-prepare-root.
set -eu
umount -l /old
/usr/lib/ostree/ostree-prepare-root /sysroot >/run/prepare-root.log 2>&1 || { cat /run/prepare-root.log; exit 99; }
for directory in proc sys dev run; do mount -n --move "/$directory" "/sysroot/$directory"; done
cd /sysroot
mount -n --move . /
exec chroot . /bin/sh /run/ovlay-lab/boot/system.sh
