#!/bin/sh
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Turns a fresh tree of packages into that of a machine which boots to SSH and nothing else: customize.sh ROOT.
# What a hypervisor serves is for the roles to enable and start, as on any host.
set -eu
root=$1

# Each host gets its own identity.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"

# Firmware for aarch64 is six files of 64 MiB, nearly all of each zeros.
for file in "$root"/usr/share/AAVMF/*.fd; do
    [ ! -f "$file" ] || [ -L "$file" ] || fallocate --dig-holes "$file"
done

# Debian enables what it installs.
systemctl --root="$root" disable \
    libvirtd.service libvirt-guests.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket \
    virtlogd.service virtlogd.socket virtlogd-admin.socket \
    openvswitch-switch.service ovn-central.service ovn-host.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    nginx.service logrotate.timer xfs_scrub_all.timer
systemctl --root="$root" mask console-getty.service systemd-networkd-wait-online.service
systemctl --root="$root" enable systemd-networkd.service ssh.service
systemctl --root="$root" set-default multi-user.target

# The underlay and public interfaces belong to Open vSwitch; the management address comes with each host.
cat > "$root/etc/systemd/network/20-datapath.network" <<'EOF'
[Match]
Name=underlay0 public0

[Link]
Unmanaged=yes
EOF

# Ansible, libvirt and tests open many sessions at once; no name server answers here.
cat > "$root/etc/ssh/sshd_config.d/lab.conf" <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
MaxStartups 200
MaxSessions 200
UseDNS no
EOF
rm -f "$root/etc/resolv.conf"
: > "$root/etc/resolv.conf"
