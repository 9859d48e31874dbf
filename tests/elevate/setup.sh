# setup.sh WORK HELPER: run in a private mount namespace, with an empty directory. Users, passwords and system services
# of its own, and a read-only directory to put overlays on; nothing of it is seen outside, and all goes with the
# namespace. Says "ready", and stays.
set -eu
work=$1
mount -t tmpfs -o mode=755 scratch "$work"

# own DIR: from here on a copy of it is in its place.
own() {
    mkdir -p "$work$1"
    cp -a "$1/." "$work$1/"
    mount --bind "$work$1" "$1"
}
own /etc
own /usr/libexec
own /usr/share/polkit-1
mkdir -p "$work/var/lib"
for name in dbus polkit-1; do
    [ ! -e "/var/lib/$name" ] || cp -a "/var/lib/$name" "$work/var/lib/"
done
mount --bind "$work/var/lib" /var/lib
for place in /run /home /opt /var/log /var/cache; do
    mount -t tmpfs -o mode=755 own "$place"
done
mkdir -p /run/dbus

for name in alice bob; do
    for file in passwd group shadow gshadow subuid subgid; do # of the machine around this one
        [ ! -e "/etc/$file" ] || sed -i "/^$name:/d" "/etc/$file"
    done
    useradd --create-home --shell /bin/bash "$name"
    printf '%s:%s\n' "$name" "open-$name" | chpasswd
    chmod 700 "/home/$name"
done
printf '%s\n' 'Defaults env_reset, timestamp_timeout=0, secure_path=/usr/sbin:/usr/bin:/sbin:/bin' 'Defaults !lecture' \
    'root ALL=(ALL:ALL) ALL' 'alice ALL=(ALL:ALL) ALL' >/etc/sudoers
rm -rf /etc/sudoers.d
chmod 440 /etc/sudoers
echo 'permit alice as root' >/etc/doas.conf
chmod 600 /etc/doas.conf
mkdir -p /etc/polkit-1/rules.d
echo 'polkit.addAdminRule(function() { return ["unix-user:alice"]; });' >/etc/polkit-1/rules.d/00-alice.rules

mkdir /opt/tools
mount -t tmpfs -o mode=755 base /opt/tools
mkdir -p /opt/tools/bin /opt/tools/share
echo base >/opt/tools/bin/b
mount -o remount,ro /opt/tools

echo ready
exec sleep infinity
