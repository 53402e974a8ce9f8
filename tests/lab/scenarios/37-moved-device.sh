# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A drive that is found in another slot is the VM's all the same, and what is in its old one is not.

MOVED=0000:04:00.0

# monitor COMMAND: of the QEMU that is the lab host.
monitor() {
        echo "[monitor] $*"
        /usr/bin/python3 - "$LAB_RUN/monitor" "$*" <<-'PYTHON'
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.connect(sys.argv[1])
		def until_prompt():
		    text = b""
		    while not text.endswith(b"(qemu) "):
		        text += s.recv(4096)
		    return text
		until_prompt()
		s.sendall(sys.argv[2].encode() + b"\n")
		if b"Error" in (answer := until_prompt()):
		    sys.exit(answer.decode())
	PYTHON
}

is_gone() {
        as root test ! -e "/sys/bus/pci/devices/$1"
}

is_ready() {
        as root sh -c "ls /sys/bus/pci/devices/$1/nvme/*/nvme*n1"
}

# pull FROM, plug TO PORT: the free drive, which keeps what is on it.
pull() {
        monitor device_del free-drive
        eventually 20 is_gone "$1" || fail "$1 is still there"
}

plug() {
        monitor drive_add 0 "if=none,id=free,file=$LAB_RUN/free.img,format=raw,cache=unsafe"
        monitor device_add "nvme,id=free-drive,bus=port$2,drive=free,serial=lab-free"
        eventually 20 is_ready "$1" || fail "$1 is not there"
}

put_back() {
        if is_gone "$FREE"; then
                is_gone "$MOVED" || pull "$MOVED"
                plug "$FREE" 1
        fi
}
trap put_back EXIT

as alice vmkitctl create "$VM" --memory 256M --cpus 1 --graphics none --firmware bios --nvme "$FREE"
pull "$FREE"
plug "$MOVED" 4
TIMEOUT=200 as alice vmkitctl start "$VM"
contains "$FREE has moved to $MOVED"
driver "$MOVED" vfio-pci
as alice vmkitctl --json info "$VM"
equals "d['devices']" "['$MOVED']"
as root virsh dumpxml --inactive "$VM"
contains "address=\"$MOVED\""
lacks "$FREE"
as root virsh dumpxml --inactive "$VM" --xpath //hostdev/source/address
contains 'bus="0x04"'
as alice vmkitctl stop "$VM" --force --timeout 0

# Without its drive it does not start with whatever else this host has.
as alice vmkitctl detach "$VM" "$MOVED"
driver "$MOVED" nvme
as alice vmkitctl attach "$VM" "$MOVED"
pull "$MOVED"
expect_fail 1 as alice vmkitctl start "$VM"
contains "$MOVED" lab-free gone
plug "$FREE" 1

as alice vmkitctl destroy --yes "$VM"
devices_are_home
