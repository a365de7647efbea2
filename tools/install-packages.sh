#!/usr/bin/env bash
# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Installs the Debian packages of the list given as argument, unless all of them are there.
# The engines are for tests in private directories and namespaces: their packaged services are not started.
set -euo pipefail

mapfile -t packages < <(sed 's/#.*//' "$1" | grep .)
installed=$(dpkg-query --show --showformat '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -cx installed || true)
[[ $installed == "${#packages[@]}" ]] && exit 0

policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "Installing Debian packages: ${packages[*]}"
apt-get update --quiet --quiet
apt-get install --quiet --quiet --yes --no-install-recommends "${packages[@]}" </dev/null >/dev/null
