# boot.sh WORK TREE UNDER_TEST: in namespaces of its own, with an empty directory. The tree's own systemd becomes their
# first process, on a root of which all that is written goes with them; nothing here touches the machine around it:
# device nodes of its own, /proc/sys and /sys read-only, a network with nobody else in it.
set -eu
work=$1 tree=$2 under_test=$3
hostname booted
mount -t tmpfs -o mode=755 scratch "$work"
cd "$work"
mkdir upper work root
mount -t overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" root root
cd root
mkdir -p "./$under_test" old
mount --bind "$under_test" "./$under_test"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
node() { mknod -m 666 "dev/$1" c "${2%:*}" "${2#*:}"; }
for each in null=1:3 zero=1:5 full=1:7 random=1:8 urandom=1:9 tty=5:0; do
    node "${each%=*}" "${each#*=}"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,gid=5,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind dev/null proc/sysrq-trigger
mount -o remount,bind,ro sys
pivot_root . old
umount -l /old
exec env -i container=ovlay-lab TERM=dumb PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --unit=multi-user.target \
    systemd.show_status=0 systemd.log_target=null systemd.mask=systemd-modules-load.service systemd.mask=tmp.mount
