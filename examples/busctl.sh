#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A VM with an NVMe drive by plain busctl, which is on every machine with systemd.
#
#       busctl.sh create NAME [IMAGE]   IMAGE: its name in the store; busctl can send no file
#       busctl.sh destroy NAME
#
# MEMORY (bytes), CPUS and FIRMWARE (uefi, bios) change what the VM is like.

set -eu

service=org.vmkit.Manager

# call PATH INTERFACE METHOD SIGNATURE ARGUMENT…: the answer as busctl prints it, types before values.
call() {
        path=$1 interface=$2 method=$3
        shift 3
        busctl --system --allow-interactive-authorization=yes call \
                "$service" "$path" "org.vmkit.$interface" "$method" "$@"
}

# property PATH INTERFACE NAME
property() {
        busctl --system get-property "$service" "$1" "org.vmkit.$2" "$3"
}

# object KIND: the path of that kind in what was read.
object() {
        grep -o "/org/vmkit/$1/[0-9a-z_]*"
}

# finish JOB: waits for its end. The busctl of Debian 12 cannot wait for a signal as an ordinary user, so it asks.
finish() {
        while [ "$(property "$1" Job State)" = 's "running"' ]; do
                sleep 0.5
        done
        if [ "$(property "$1" Job State)" != 's "done"' ]; then
                property "$1" Job Error >&2
                property "$1" Job Remedy >&2
                exit 1
        fi
}

# The number of options comes before them: each is a key, a type and a value.
create() {
        name=$1 image=${2:-}
        set -- memory t "${MEMORY:-8589934592}" cpus u "${CPUS:-6}" firmware s "${FIRMWARE:-uefi}" \
                nvme as 1 auto start b true
        count=5
        if [ -n "$image" ]; then
                set -- "$@" image-name s "$image"
                count=6
        fi
        answer=$(call /org/vmkit/Manager Manager CreateVM 'sa{sv}' "$name" $count "$@")
        finish "$(echo "$answer" | object job)"
        echo "$name: $(property "$(echo "$answer" | object vm)" VM State)"
}

destroy() {
        vm=$(call /org/vmkit/Manager Manager GetVM s "$1" | object vm)
        job=$(call "$vm" VM Destroy 'a{sv}' 1 force b true | object job)
        finish "$job"
        echo "$1 is gone"
}

case ${1:-}:$# in
create:[23] | destroy:2) "$@" ;;
*)
        sed -n '3,/^$/s/^#//p' "$0" >&2
        exit 2
        ;;
esac
