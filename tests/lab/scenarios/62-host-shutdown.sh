# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The host reboots with a VM running, whose guest does not react: it is cut off when its time is over, its
# devices go back, and only then do vmkitd and libvirt stop.

boot_id() {
        ssh -F "$LAB_RUN/ssh_config" -o ControlPath=none -o ConnectTimeout=3 root@lab \
                cat /proc/sys/kernel/random/boot_id 2>/dev/null </dev/null
}

has_rebooted() {
        local now
        now=$(boot_id) && [ "$now" != "$boot" ]
}

# The connections that are kept open end with the host, which they would notice late.
hang_up() {
        local user
        for user in root alice; do
                ssh -F "$LAB_RUN/ssh_config" -O exit "$user@lab" 2>/dev/null || true
        done
}

# in_order TEXT…: the lines of the last output that have these texts come one after the other.
in_order() {
        local text line=0 found
        for text in "$@"; do
                found=$(grep -nF -- "$text" "$OUTPUT" | tail -n 1 | cut -d : -f 1)
                [ -n "$found" ] || fail "the output lacks: $text"
                [ "$found" -gt "$line" ] || fail "too early: $text"
                line=$found
        done
}

as root sh -ec '
        mkdir -p /etc/systemd/journald.conf.d /etc/vmkit/vmkitd.conf.d
        printf "[Journal]\nStorage=persistent\n" >/etc/systemd/journald.conf.d/shutdown.conf
        systemctl restart systemd-journald.service
        journalctl --flush
        printf "[Manager]\nShutdownTimeout=4\n" >/etc/vmkit/vmkitd.conf.d/shutdown.conf
        systemctl restart vmkitd.service'
as root systemctl is-active vmkit-guests.service

TIMEOUT=300 as alice vmkitctl create "$VM" --memory 256M --cpus 1 --firmware bios --gpu auto --nvme auto \
        --on-stop host --start
driver "$FREE" vfio-pci

# VMs outlive the service, and so does the unit that stops them.
as root systemctl restart vmkitd.service
as root systemctl is-active vmkit-guests.service
as alice vmkitctl list
contains running

boot=$(boot_id)
began=$(lab_as root date +%s)        # what earlier scenarios left in the journal is not about this
as root systemctl --no-block reboot
hang_up
eventually 300 has_rebooted || fail 'the host did not come back'

as root journalctl -b -1 --since "@$began" -o cat --no-pager -u vmkit-guests.service -u vmkitd.service -u libvirtd.service
in_order 'Stopping vmkit-guests.service' 'org.vmkit.Manager.StopAllVMs' "The VM $VM has stopped (destroyed)" \
        "stop $VM for uid 0 is done" 'stop-all for uid 0 is done' 'Stopped vmkit-guests.service' \
        'Stopping vmkitd.service' 'Stopped vmkitd.service'
lacks 'left over' 'interrupted operation'

as root systemctl start vmkitd.service
eventually 240 has_settled || fail 'vmkitd has not settled'
as root ls -A /var/lib/vmkit/claims
[ ! -s "$OUTPUT" ] || fail 'claims are left'
as alice vmkitctl list
contains stopped
devices_are_home

as alice vmkitctl destroy --yes "$VM"
as root sh -ec '
        rm -r /etc/vmkit/vmkitd.conf.d/shutdown.conf /etc/systemd/journald.conf.d/shutdown.conf
        systemctl restart systemd-journald.service vmkitd.service'
