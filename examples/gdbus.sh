#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A VM with an NVMe drive by plain gdbus (libglib2.0-bin), which can send a file: the shell opens it.
#
#       gdbus.sh create NAME [FILE]     FILE: a disk image; it goes into the store, as NAME, until destroy
#       gdbus.sh destroy NAME
#
# MEMORY (bytes), CPUS and FIRMWARE (uefi, bios) change what the VM is like. gdbus lets nobody be asked for a
# password: it needs the polkit rule of the README.

set -euo pipefail

service=org.vmkit.Manager
manager=/org/vmkit/Manager

# call PATH METHOD ARGUMENT…
call() {
        gdbus call --system --dest "$service" --object-path "$1" --method "org.vmkit.$2" "${@:3}"
}

# property PATH INTERFACE NAME: as text, quotes and all.
property() {
        gdbus call --system --dest "$service" --object-path "$1" \
                --method org.freedesktop.DBus.Properties.Get "org.vmkit.$2" "$3"
}

# object KIND: the path of that kind in what was read.
object() {
        grep -o "/org/vmkit/$1/[0-9a-z_]*"
}

# follow JOB: until it has ended, as a signal says. Its state is read when they are listened for, since it may be
# over by then.
follow() {
        local line
        coproc gdbus monitor --system --dest "$service" --object-path "$1"
        while read -r -u "${COPROC[0]}" line; do
                case $line in
                'The name '*' is owned by '*)
                        [[ $(property "$1" Job State) == *running* ]] || break
                        ;;
                *org.vmkit.Job.Completed*) break ;;
                esac
        done
        kill "$COPROC_PID"
        wait "$COPROC_PID" || true
}

# finish JOB: waits for its end, and fails as it does.
finish() {
        follow "$1" 2>/dev/null
        if [[ $(property "$1" Job State) != *done* ]]; then
                property "$1" Job Error >&2
                property "$1" Job Remedy >&2
                return 1
        fi
}

# A descriptor is an argument of its own in gdbus, so the image goes into the store first.
import_image() {
        local answer
        answer=$(call "$manager" Manager.ImportImage "$1" 5 '{}' 5<"$2")
        finish "$(object job <<<"$answer")"
}

create() {
        local name=$1 file=${2:-} image='' answer
        if [ -n "$file" ]; then
                import_image "$name" "$file"
                image=", 'image-name': <'$name'>"
        fi
        answer=$(call "$manager" Manager.CreateVM "$name" "{
                'memory': <uint64 ${MEMORY:-8589934592}>, 'cpus': <uint32 ${CPUS:-6}>,
                'firmware': <'${FIRMWARE:-uefi}'>, 'nvme': <['auto']>, 'start': <true>$image}")
        finish "$(object job <<<"$answer")"
        echo "$name: $(property "$(object vm <<<"$answer")" VM State)"
}

destroy() {
        local vm job
        vm=$(call "$manager" Manager.GetVM "$1" | object vm)
        job=$(call "$vm" VM.Destroy "{'force': <true>}" | object job)
        finish "$job"
        if call "$manager" Manager.ListImages | grep -qF "('$1',"; then
                call "$manager" Manager.RemoveImage "$1" '{}' >/dev/null
        fi
        echo "$1 is gone"
}

case ${1:-}:$# in
create:[23] | destroy:2) "$@" ;;
*)
        sed -n '3,/^$/s/^#//p' "$0" >&2
        exit 2
        ;;
esac
