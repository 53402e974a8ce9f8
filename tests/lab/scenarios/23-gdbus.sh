# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The same through gdbus, which can send a descriptor: the image goes into the store by it.

manager=(gdbus call --system --dest org.vmkit.Manager --object-path /org/vmkit/Manager --method)

job_done() {
        local job
        job=$(grep -o '/org/vmkit/job/[0-9]*' "$OUTPUT")
        TIMEOUT=300 as alice job-done "$job"
}

as alice sh -c "exec 3<$IMAGE; ${manager[*]} org.vmkit.Manager.ImportImage debian 'handle 3' '{}'"
job_done

as alice "${manager[@]}" org.vmkit.Manager.CreateVM "$VM" "{'memory': <uint64 1073741824>,
        'cpus': <uint32 1>, 'image-name': <'debian'>, 'gpu': <['auto']>, 'nvme': <['auto']>,
        'graphics': <'none'>, 'firmware': <'bios'>, 'start': <true>}"
vm=$(grep -o '/org/vmkit/vm/[0-9a-f]*' "$OUTPUT")
job_done
driver "$GPU" vfio-pci

as alice gdbus call --system --dest org.vmkit.Manager --object-path "$vm" \
        --method org.vmkit.VM.Destroy "{'force': <true>}"
job_done
devices_are_home
as alice vmkitctl image remove debian
