# bootc.sh: an initramfs that plays bootc's composefs side on a disk that ostree made: the same mounts, no ostree.
# Source: setup_root() and mount_composefs_image() in crates/initramfs/src/lib.rs of bootc (534c76e). The image is the
# one in the deployment; bootc's own lies in /sysroot/composefs. The state is where bootc has it: /sysroot/state/deploy.
set -eu
umount -l /old
digest=$(sed 's/.*composefs=\([0-9a-f]*\).*/\1/' /proc/cmdline)
deployment=$(ls -d /sysroot/ostree/deploy/debian/deploy/*.0)
state=/sysroot/state/deploy/$digest
if [ ! -e "$state" ]; then
    mkdir -p "$state" /sysroot/state/os/default/var
    cp -a "$deployment/usr/etc" "$state/etc"
    printf '[origin]\ncontainer-image-reference=ostree-unverified-registry:example.org/lab:latest\n' >"$state/$digest.origin"
fi
mkdir /run/image /run/root
mount -t erofs -o ro "$deployment/.ostree.cfs" /run/image
mount -t overlay -o ro,lowerdir+=/run/image,datadir+=/sysroot/ostree/repo/objects,redirect_dir=on,metacopy=on \
    "composefs:$digest" /run/root
umount -l /run/image
mount --bind "$state/etc" /run/root/etc
mount --bind /sysroot/state/os/default/var /run/root/var
mount -n --move /sysroot /run/root/sysroot
mount -o remount,bind,ro /run/root/sysroot
for directory in proc sys dev; do mount -n --move "/$directory" "/run/root/$directory"; done
mkdir /newroot
mount -n --move /run/root /newroot
mount -n --move /run /newroot/run
rmdir /newroot/run/image /newroot/run/root
cd /newroot
mount -n --move . /
exec chroot . /bin/sh /run/ovlay-lab/boot/system.sh
