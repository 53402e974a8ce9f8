# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The domains of the unit tests, each of another configuration, are accepted by libvirt's driver for QEMU and KVM.

defined=0
for file in "$TREE"/tests/unit/golden/*.xml; do
        name=$(basename "$file" .xml)
        grep -q '^<domain' "$file" || continue          # a device alone
        ! grep -q '<backend type="passt"' "$file" || continue         # this libvirt has none
        lab_as root sh -c 'cat >/run/golden.xml' <"$file"
        as root virsh define --validate /run/golden.xml
        uuid=$(sed -n 's,.*<uuid>\(.*\)</uuid>.*,\1,p' "$file")
        as root virsh undefine --nvram "$uuid"
        defined=$((defined + 1))
        echo "$name is accepted"
done
[ "$defined" -ge 20 ] || fail "only $defined"
