# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# lab: --topologies
# The examples of the Python package, as they are installed, by alice: each scenario, small enough for this host.
# Then the package as somebody has it who types the password.

example() {
        TIMEOUT=400 as alice /usr/share/doc/vmkit/examples/passthrough_examples.py "$@"
}

SMALL=(--image "$IMAGE" --memory 1G --cpus 1 --firmware bios)
OTHER_GPU=0000:0a:00.0

example troubleshooting "${SMALL[@]}"
contains "$MOUNTED" 'can be chosen' 'it could be created' DeviceInUse 'is mounted at /srv/data'
lacks Traceback
as alice vmkitctl --json list
equals d '[]'

example gaming "${SMALL[@]}"
contains 'gaming-vm is running'
driver "$GPU" vfio-pci
driver "$AUDIO" vfio-pci
driver "$FREE" vfio-pci
guest lspci -nn
contains 1234:1111 'Non-Volatile memory'
TIMEOUT=300 as alice python3 -c 'from vmkit import *
vm = SecureVM("gaming-vm")
print(vm.state, vm.addresses)
with vm.console() as console:
    console.sendall(b"\r")
    shown = b""
    while b"login: " not in shown:
        shown += console.recv(4096)
vm.stop(timeout=100, force=True).destroy()'
contains running
devices_are_home

example development "${SMALL[@]}" --clean-up
contains 'dev-vm is running' 'dev-vm is gone'
devices_are_home

example multi-gpu "${SMALL[@]}" --memory 512M        # the last of the two counts
contains 'gaming is running' 'ai-vm is running'
driver "$GPU" vfio-pci
driver "$OTHER_GPU" vfio-pci
as alice python3 -c 'from vmkit import *
for vm in list_vms():
    print(vm.name, len(vm.properties["Devices"]))
    vm.destroy(force=True)'
contains 'gaming 2' 'ai-vm 2'
devices_are_home
driver "$OTHER_GPU" bochs-drm

# Bob has no right by himself, and is asked for an administrator's password: once, for all.
create='from vmkit import *
with TerminalAgent():
    print(SecureVM("bobs-vm", memory="512M", cpus=1, firmware="bios", disk_size="64M",
                   passthrough_devices=[find_gpu(), find_nvme()]).create().state)'
expect_fail 1 as bob python3 -c "$create"
contains AccessDenied org.vmkit.create-vm
with_password bobs-vm as bob python3 -c "$create"
contains stopped
as bob vmkitctl destroy --yes bobs-vm
