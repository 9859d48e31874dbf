# machine.sh WORK TREE DISK CONF UNDER_TEST BOOT INITRAMFS ARGUMENT: what firmware and kernel do. Runs in namespaces of its own.
# An initramfs whose /usr is that of the packages, the disk, a few device nodes; nothing here touches the machine:
# device nodes of its own, /proc/sys and /sys read-only.
set -eu
work=$1 tree=$2 disk=$3 conf=$4 under_test=$5 boot=$6 initramfs=$7 argument=$8
hostname ovlay-lab
mount -t tmpfs -o mode=755 initramfs "$work"
cd "$work"
mkdir usr etc etc/ostree proc sys dev run sysroot tmp old
for link in bin sbin lib lib64; do [ ! -e "$tree/usr/$link" ] || ln -s "usr/$link" "$link"; done
mount --bind "$tree/usr" usr
mount -o remount,bind,ro usr
cp "$conf" etc/ostree/prepare-root.conf
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
node() { mknod -m "$4" "dev/$1" "$2" "${3%:*}" "${3#*:}"; }
for each in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 loop-control:10:237 fuse:10:229; do
    node "${each%%:*}" c "${each#*:}" 666
done
for number in 0 1 2 3 4 5 6 7; do node "loop$number" b "7:$number" 660; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
echo "root=LABEL=ovlay-lab rw $argument" >run/.cmdline
mount --bind run/.cmdline proc/cmdline
mkdir run/ovlay-lab run/ovlay-under-test
cp -r "$boot" run/ovlay-lab/boot
mount --bind "$under_test" run/ovlay-under-test
mount -o loop "$disk" sysroot # autoclear: the loop device goes with the last mount
pivot_root . old
exec chroot . /bin/sh "/run/ovlay-lab/boot/$initramfs"
