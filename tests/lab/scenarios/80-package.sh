# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The Debian package, on a host that has never seen vmkit: from its installation to a running VM as the README
# says it, an upgrade under that VM, and its removal, after which every device is the host's.

apt=(env DEBIAN_FRONTEND=noninteractive apt-get --yes -o Dpkg::Use-Pty=0)

copy_to_root() {
        connect root
        ssh -F "$LAB_RUN/ssh_config" root@lab "cat >'/root/${1##*/}'" <"$1"
}

# What `meson install` has put there, and what came of it.
forget_tree() {
        as root systemctl stop vmkit-guests.service
        as root systemctl disable --quiet --now vmkitd.service
        (cd "$LAB/tree" && find . -type f ! -path './usr/local/*' -printf '/%P\0') |
                ssh -F "$LAB_RUN/ssh_config" root@lab 'xargs -0 rm
                        rm -r /etc/vmkit /var/lib/vmkit
                        rm -rf /usr/lib/python3/dist-packages/vmkit /usr/lib/python3/dist-packages/vmkit-*
                        rm -f /etc/apparmor.d/local/abstractions/libvirt-qemu
                        systemctl daemon-reload'
}

# next_version DEB: the same package with a higher version; prints its name.
next_version() {
        local work=$LAB_RUN/package
        rm -rf "$work"
        dpkg-deb -R "$1" "$work"
        sed -i 's/^Version: .*/&+next/' "$work/DEBIAN/control"
        dpkg-deb -b "$work" "$LAB_RUN" >&2
        rm -r "$work"
        echo "$LAB_RUN"/vmkit_*+next_amd64.deb
}

# traces: files of vmkit's on the lab host, but for what its administrator wrote.
traces() {
        as root find /etc /usr /var /run -xdev -name '*vmkit*' ! -path '/usr/local/*' ! -path '*/rules.d/50-*' \
                ! -path '/run/systemd/*'
}

# disk: of the VM over-image, through the image that it lies over, as a checksum that ends up in $OUTPUT.
disk() {
        as root sh -ec "cd /var/lib/vmkit/vms/$over
                qemu-img info disk.qcow2 | grep ^backing
                qemu-img check -q disk.qcow2
                qemu-img dd -f qcow2 -O raw bs=1M count=64 if=disk.qcow2 of=/root/disk.raw
                sha256sum /root/disk.raw
                rm /root/disk.raw"
}

# For `eventually`: the service that was started anew has looked at libvirt.
vm_is() {
        lab_as alice vmkitctl list | grep "$VM .*$1" >/dev/null
}

"$LAB_SOURCE/package"
package=$(echo "$LAB"/package/vmkit_*_amd64.deb)
next=$(next_version "$package")
copy_to_root "$package"
copy_to_root "$next"
forget_tree
as root sed -i 's/^update_initramfs=.*/update_initramfs=no/' /etc/initramfs-tools/update-initramfs.conf

# --- installation ---------------------------------------------------------------------------------------------

as root "${apt[@]}" install "./${package##*/}"
as root systemctl is-active vmkitd.service vmkit-guests.service
as root systemctl is-enabled vmkitd.service vmkit-reserve.service
as root grep -r libvirt-qemu.d /etc/apparmor.d/local/abstractions
as alice vmkitctl --version

expect_fail 3 as alice vmkitctl create "$VM" "$IMAGE" --memory 512M --firmware bios --gpu auto --nvme auto
contains polkit.addRule org.vmkit.use-device
as root sh -c 'cat >/etc/polkit-1/rules.d/50-vmkit.rules <<EOF
polkit.addRule(function(action, subject) {
        if ((action.id == "org.vmkit.create-vm" || action.id == "org.vmkit.use-device") &&
            subject.user == "alice")
                return polkit.Result.YES;
});
EOF'
as alice vmkitctl check
as alice vmkitctl devices
as alice vmkitctl explain gpu
TIMEOUT=300 as alice "${CREATE[@]}" --start
as alice vmkitctl list
contains "$VM" running
as alice vmkitctl info "$VM"
driver "$FREE" vfio-pci
driver "$GPU" vfio-pci

# --- upgrade --------------------------------------------------------------------------------------------------

qemu=$(qemu_of "$VM")
service=$(lab_as root systemctl show --property MainPID vmkitd.service)
as root "${apt[@]}" install "./${next##*/}"
[ "$(qemu_of "$VM")" = "$qemu" ] && lab_as root test -e "/proc/$qemu" || fail 'the VM is another than before'
[ "$(lab_as root systemctl show --property MainPID vmkitd.service)" != "$service" ] || fail 'an old vmkitd runs'
as root systemctl is-active vmkitd.service vmkit-guests.service
eventually 60 vm_is running || fail 'the VM does not run'
as alice vmkitctl --json info "$VM"
equals "(d['state'], sorted(d['devices']))" "('running', ['$FREE', '$GPU', '$AUDIO'])"
driver "$FREE" vfio-pci
driver "$GPU" vfio-pci
driver "$AUDIO" vfio-pci

# --- removal --------------------------------------------------------------------------------------------------

expect_fail 100 as root "${apt[@]}" purge vmkit
contains "$VM" 'vmkitctl stop --all'
as alice vmkitctl list
contains running
as root systemctl is-active vmkitd.service

# A disk over an image that is no longer in the store.
as alice vmkitctl image import over "$IMAGE"
as alice vmkitctl create over-image @over --memory 512M --cpus 1 --firmware bios --graphics none
as alice vmkitctl image remove over
as alice vmkitctl --json info over-image
over=$(json "d['uuid']")
disk
contains /var/lib/vmkit/bases/
cp "$OUTPUT" "$OUTPUT.before"

# Of a VM that is stopped one device waits on vfio-pci, and another is reserved; both come back.
as alice vmkitctl stop "$VM" --timeout 0 --force
driver "$FREE" vfio-pci
as root vmkitctl reserve "$GPU"
as root "${apt[@]}" purge vmkit
contains "$FREE is back" "$GPU is back" /var/lib/vmkit/vms /var/lib/vmkit/bases 'triggers for initramfs-tools'
devices_are_home
traces
lacks /etc/vmkit /usr/ /run/
contains /var/lib/vmkit
disk
diff "$OUTPUT.before" "$OUTPUT"

# The VM is there again with the package, and with the VM the last file goes.
as root "${apt[@]}" install "./${package##*/}"
eventually 60 vm_is stopped || fail 'the VM is forgotten'
disk
diff "$OUTPUT.before" "$OUTPUT"
as alice vmkitctl destroy --yes "$VM"
as alice vmkitctl destroy --yes over-image
as root "${apt[@]}" purge vmkit
lacks 'are kept'
traces
[ ! -s "$OUTPUT" ] || fail 'something is left'
as root sh -c '! test -e /etc/apparmor.d/local/abstractions/libvirt-qemu'

# --- the lab as it was ----------------------------------------------------------------------------------------

as root sed -i 's/^update_initramfs=.*/update_initramfs=yes/' /etc/initramfs-tools/update-initramfs.conf
as root rm /etc/polkit-1/rules.d/50-vmkit.rules
"$LAB_SOURCE/install" --staged
