"""The lab: real ostree and real systemd-sysext on hosts that are made of Debian packages, booted in namespaces."""
