# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# An image of another format is converted by a user that is nobody, in a unit of its own.

STORE=/var/lib/vmkit/images/$(lab_as root id -u alice)

converter_is_idle() {
        ! lab_as root systemctl list-units --no-legend 'vmkit-convert@*' | grep running >/dev/null
}

is_converting() {
        lab_as root pgrep -x qemu-img >/dev/null
}

# The journal of the converters since the scenario began.
converters() {
        as root journalctl --since "@$BEGAN" --output short-full --unit 'vmkit-convert@*'
}

BEGAN=$(lab_as root date +%s)
as root systemctl is-active vmkit-convert.socket
for format in vmdk vdi; do
        as alice qemu-img convert -O "$format" "$IMAGE" "other.$format"
        TIMEOUT=300 as alice vmkitctl image import "$format" "other.$format"
        as root qemu-img compare -f qcow2 -F qcow2 "$STORE/$format.qcow2" "/home/alice/$IMAGE"
        as root stat -c %a:%U "$STORE/$format.qcow2"
        contains 600:root
done
as alice vmkitctl --json image list
equals "sorted((i['name'], i['format']) for i in d)" "[('vdi', 'qcow2'), ('vmdk', 'qcow2')]"
converters
contains 'qemu-img convert as uid'
lacks 'as uid 0'
# Dynamic users are of these numbers.
grep -o 'as uid [0-9]*' "$OUTPUT" | while read -r _ _ uid; do
        [ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ] || fail "$uid is no dynamic user"
done
eventually 20 converter_is_idle || fail 'a converter was left'

# What it finds there: nothing of the host's, and no network.
as root sh -c 'systemctl show "vmkit-convert@0.service" -p DynamicUser -p PrivateNetwork -p PrivateDevices \
        -p CapabilityBoundingSet -p MemoryMax'
contains DynamicUser=yes PrivateNetwork=yes PrivateDevices=yes

# Cancelled: the other end is gone, and so is the converter.
as alice sh -c 'head -c 200M /dev/urandom >large.raw && qemu-img convert -f raw -O vdi large.raw large.vdi; rm large.raw'
as alice vmkitctl --json --no-wait image import large large.vdi
job=$(json "d['job']")
eventually 60 is_converting || fail 'no converter was started'
as root sh -c 'ps -o user:20,comm -C qemu-img'
lacks root
as alice vmkitctl cancel "$job"
eventually 20 converter_is_idle || fail 'the converter runs on'
as root sh -c "ls -A $STORE"
lacks large

# Killed, as for want of memory.
as alice vmkitctl --json --no-wait image import large large.vdi
eventually 60 is_converting || fail 'no converter was started'
as root systemctl kill --signal KILL 'vmkit-convert@*'
eventually 20 converter_is_idle || fail 'the converter runs on'
as root sh -c "ls -A $STORE"
lacks large
as root journalctl --since "@$BEGAN" --unit vmkitd
contains 'ended without an answer'

# vmkitd starts anew meanwhile: the image is either whole or not there.
as alice vmkitctl --json --no-wait image import large large.vdi
eventually 60 is_converting || fail 'no converter was started'
as root systemctl restart vmkitd
eventually 60 converter_is_idle || fail 'the converter runs on'
as root sh -c "ls -A $STORE"
! grep -q large "$OUTPUT" || as root qemu-img check -f qcow2 "$STORE/large.qcow2"

# Larger than it may be when it is unpacked: what is free is the limit.
as alice sh -c 'yes | head -c 400M >large.raw
        qemu-img convert -f raw -O vmdk -o subformat=streamOptimized large.raw packed.vmdk; rm large.raw'
as root sh -c 'fallocate -l "$(($(df --output=avail -B1 /var/lib/vmkit | tail -n 1) - 100000000))" /var/lib/filler'
TIMEOUT=300 expect_fail 1 as alice vmkitctl image import packed packed.vmdk
contains 'too large'
as root rm /var/lib/filler
as root sh -c "ls -A $STORE"
lacks packed

# Without the service nothing is converted, and it is said what to do.
as root systemctl stop vmkit-convert.socket
expect_fail 1 as alice vmkitctl image import refused other.vdi
contains vmkit-convert.socket
as root systemctl start vmkit-convert.socket
TIMEOUT=300 as alice vmkitctl image import again other.vdi

for image in vmdk vdi again; do
        as alice vmkitctl image remove "$image"
done
as alice sh -c 'vmkitctl --json image list; vmkitctl image remove large; rm -f other.* large.* packed.*' || true
