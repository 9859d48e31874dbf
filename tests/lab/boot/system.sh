# system.sh: what the booted system does before anybody logs in, as far as a test can tell; then it waits as PID 1.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rshared / # what systemd does as PID 1; `ostree admin unlock` mounts in a namespace of its own
mount -t tmpfs tmp /tmp
chmod 1777 /tmp
if ! grep -q ' /var ' /proc/self/mountinfo; then # as the var.mount that ostree-system-generator writes
    mount --bind /sysroot/ostree/deploy/debian/var /var
    mount --make-private /var
    mount --make-shared /var
fi
[ -d /boot/loader ] || mount --bind /sysroot/boot /boot
! [ -e /run/ostree-booted ] || /usr/lib/ostree/ostree-remount
mkdir -p /var/lib /var/roothome /var/usrlocal/bin
mkdir -p -m 1777 /var/tmp
chmod 1777 /var/tmp
[ -s /etc/machine-id ] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
cd /
# Orphans are reaped by the kernel where PID 1 ignores SIGCHLD.
exec python3 -I -c '
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("booted", flush=True)
while True:
    signal.pause()
'
