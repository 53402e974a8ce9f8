# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Powered off from inside, the VM leaves its devices where `stop` would have.

vm_is_stopped() {
        as alice vmkitctl list && grep -q stopped "$OUTPUT"
}

TIMEOUT=300 as alice "${CREATE[@]}" --start
guest sudo systemctl poweroff || true
eventually 120 vm_is_stopped || fail 'the VM did not stop'
driver "$FREE" vfio-pci
driver "$GPU" bochs-drm
driver "$AUDIO" snd_hda_intel

as alice vmkitctl destroy --yes "$VM"
devices_are_home
