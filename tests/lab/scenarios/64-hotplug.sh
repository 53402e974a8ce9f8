# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A drive is plugged into the empty port and pulled out again: free, held by an administrator, and while a VM runs
# with it. Each is told on the bus, and nothing is left of it.

PLUG=0000:04:00.0
WATCHED=/tmp/guest-monitor

# monitor COMMAND…: of the QEMU that is the lab host.
monitor() {
        echo "[qemu] $*"
        /usr/bin/python3 - "$LAB_RUN/monitor" "$@" <<'PYTHON'
import socket
import sys

with socket.socket(socket.AF_UNIX) as monitor:
    monitor.connect(sys.argv[1])
    for command in ['', *sys.argv[2:]]:
        monitor.sendall(f'{command}\n'.encode() if command else b'')
        answer = b''
        while not answer.endswith(b'(qemu) '):
            answer += monitor.recv(4096)
    if b'Error' in answer:
        sys.exit(answer.decode())
PYTHON
}

plug() {
        monitor 'drive_add 0 if=none,id=plug,driver=null-co,size=64M' \
                'device_add nvme,id=plugged,bus=port4,drive=plug,serial=lab-plug'
        eventually 60 is_there || fail "$PLUG does not appear"
}

pull() {
        monitor 'device_del plugged'
}

is_there() {
        as alice vmkitctl devices && grep -q "$PLUG .*nvme" "$OUTPUT"
}

is_gone() {
        as alice vmkitctl devices && ! grep -q "$PLUG" "$OUTPUT"
}

is_in_use() {
        as root sh -c "test ! -e /sys/bus/pci/devices/$PLUG/driver"
}

# A job begins and ends, whether or not there is anything to stop: the watch is on when it is seen.
is_watched() {
        as root vmkitctl stop --all
        as root grep -q stop-all "$WATCHED"
}

# told COUNT TEXT…: so many lines of the watch have all of these.
told() {
        as root awk -v wanted="$1" -v first="$2" -v second="$3" \
                'index($0, first) && index($0, second) { n++ } END { exit n != wanted }' "$WATCHED"
}

lab_as alice sh -c "nohup timeout 900 vmkitctl --json monitor >$WATCHED 2>&1 </dev/null & echo \$! >$WATCHED.pid"

eventually 60 is_watched || fail 'nothing is told'

plug
eventually 20 told 1 '"added"' "$PLUG" || fail 'it is not told, or not once'
pull
eventually 60 is_gone || fail "$PLUG does not go"
eventually 20 told 1 '"removed"' "$PLUG" || fail 'it is not told, or not once'
told 2 '"Devices"' '/org/vmkit/Manager'

# Held on vfio-pci by an administrator: its record goes with it.
plug
as root vmkitctl bind "$PLUG"
as root ls /var/lib/vmkit/claims
contains "$PLUG"
pull
eventually 60 is_gone || fail "$PLUG does not go"
as root ls /var/lib/vmkit/claims
lacks "$PLUG"
as root journalctl -b -u vmkitd -o cat --no-pager
contains "$PLUG is gone"

# A VM runs with it: the kernel waits for QEMU, and so for the guest, which here does not answer. It goes when the
# VM stops, and the VM says so when it is started.
plug
TIMEOUT=300 as alice vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --nvme "$PLUG" --start
pull
eventually 60 is_in_use || fail 'the kernel does not take it away'
as alice vmkitctl list
contains running
as alice vmkitctl stop "$VM" --force --timeout 0
eventually 60 is_gone || fail "$PLUG does not go"
as root ls /var/lib/vmkit/claims
lacks "$PLUG"
as alice vmkitctl info "$VM"
contains "$PLUG is gone"
expect_fail 1 as alice vmkitctl start "$VM"
contains "The device $PLUG of the VM $VM is gone"
as root journalctl -b -u vmkitd -o cat --no-pager
contains "$PLUG was taken away while the VM $VM had it"

# The same drive again is the VM's again.
plug
TIMEOUT=300 as alice vmkitctl start "$VM"
as alice vmkitctl destroy --force --yes "$VM"
driver "$PLUG" nvme
pull
eventually 60 is_gone || fail "$PLUG does not go"

as root sh -c "kill \$(cat $WATCHED.pid); rm -f $WATCHED $WATCHED.pid"
