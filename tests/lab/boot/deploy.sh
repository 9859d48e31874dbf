# deploy.sh TREE CONTENT DISK: commit CONTENT to ostree on DISK and deploy it there, with TREE's own ostree.
# Runs in a mount namespace of its own. The kernel argument ostree= is left in CONTENT/karg.
set -eu
tree=$1 content=$2 disk=$3
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount -t tmpfs work "$tree/mnt"
mkdir "$tree/mnt/sysroot" "$tree/mnt/content"
mount -o loop "$disk" "$tree/mnt/sysroot"
mount --bind "$content" "$tree/mnt/content"
in_tree() { chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 "$@"; }
in_tree ostree admin init-fs --sysroot=/mnt/sysroot /mnt/sysroot
in_tree ostree admin os-init --sysroot=/mnt/sysroot debian
in_tree ostree --repo=/mnt/sysroot/ostree/repo config set sysroot.bootloader none
in_tree ostree --repo=/mnt/sysroot/ostree/repo config set core.min-free-space-percent 0
in_tree ostree --repo=/mnt/sysroot/ostree/repo commit --branch=debian/host --tree=dir=/mnt/content
in_tree ostree admin deploy --sysroot=/mnt/sysroot --os=debian --karg=rw --karg=root=LABEL=ovlay-lab debian/host
grep -ho 'ostree=[^ ]*' "$tree"/mnt/sysroot/boot/loader/entries/*.conf >"$content/karg"
umount "$tree/mnt/sysroot"
