# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The same through busctl, which cannot send one: by name from the store.

manager=(busctl call org.vmkit.Manager /org/vmkit/Manager org.vmkit.Manager)

job_done() {
        local job
        job=$(grep -o '/org/vmkit/job/[0-9]*' "$OUTPUT")
        TIMEOUT=300 as alice job-done "$job"
}

TIMEOUT=300 as alice vmkitctl image import debian "$IMAGE"
as alice vmkitctl image list
contains debian

as alice "${manager[@]}" CreateVM 'sa{sv}' "$VM" 7 memory t 1073741824 cpus u 1 \
        image-name s debian gpu as 1 auto nvme as 1 auto firmware s bios start b true
vm=$(grep -o '/org/vmkit/vm/[0-9a-f]*' "$OUTPUT")
job_done
driver "$GPU" vfio-pci
as alice busctl get-property org.vmkit.Manager "$vm" org.vmkit.VM State
contains running

as alice busctl call org.vmkit.Manager "$vm" org.vmkit.VM Destroy 'a{sv}' 1 force b true
job_done
devices_are_home
as alice vmkitctl image remove debian
