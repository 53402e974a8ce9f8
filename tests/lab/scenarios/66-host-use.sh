# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Each way in which a host uses a drive, a graphics card or a sound card: refused by its code, the thing
# named; and once it is over, the device is free at once.

as root readlink -f /dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_lab-free
disk=$(tail -n 1 "$OUTPUT")

host() {
        as root sh -euc "disk=$disk; $1"
}

# refused CODE NAMED…: as it is now, the drive (or $device) cannot be taken.
refused() {
        expect_fail 1 as root vmkitctl bind "${device:-$FREE}"
        contains "($1)" "${@:2}"
}

# Data is not use: it can be allowed.
host 'mke2fs -qF -L films $disk'
refused has-data "ext2 file system 'films' on $disk" '--allow has-data'
as root vmkitctl bind "$FREE" --allow has-data
as root vmkitctl release "$FREE"
driver "$FREE" nvme

host 'mkdir -p /run/lab; mount $disk /run/lab'
refused mounted "$disk is mounted at /run/lab"
host 'umount /run/lab'
host 'systemd-run -q --collect --unit lab-mount unshare -m sh -c "mount $disk /run/lab; exec sleep 1000"
      until grep -q "$disk " /proc/$(systemctl show -P MainPID lab-mount)/mountinfo; do sleep 0.1; done'
refused mounted "$disk is mounted at /run/lab in another mount namespace"
host 'systemctl stop lab-mount'

host 'cp /etc/fstab /run/fstab; echo "LABEL=films /srv/films ext4 noauto 0 0" >>/etc/fstab'
refused fstab "/etc/fstab mounts $disk at /srv/films"
host 'cat /run/fstab >/etc/fstab; echo "vault $disk none noauto" >/etc/crypttab'
refused fstab "/etc/crypttab unlocks $disk as vault"
host 'rm /etc/crypttab; wipefs -qa $disk'

host 'mkswap -q $disk; swapon $disk'
refused swap "$disk is used as swap space"
host 'swapoff $disk; wipefs -qa $disk'

host 'pvcreate -qqy $disk; vgcreate -qq labvg $disk; lvcreate -qqy -l 1 -n films labvg'
refused lvm "$disk belongs to the LVM volume /dev/mapper/labvg-films"
host 'vgchange -qqan labvg'
refused has-data "LVM physical volume on $disk"
host 'vgremove -qqyf labvg; pvremove -qqy $disk'

host 'mdadm -q --build /dev/md/lab --level=linear --force --raid-devices=1 $disk'
refused md-raid "$disk is a member of the array /dev/md"
host 'mdadm -q --stop /dev/md/lab'

host 'printf key | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 $disk -
      printf key | cryptsetup open $disk vault -d -'
refused device-mapper "$disk is unlocked (dm-crypt) as /dev/mapper/vault"
host 'cryptsetup close vault; wipefs -qa $disk'

# A partition, which is opened by nothing but its file system.
host 'printf "\200\0\0\0\203\0\0\0\0\010\0\0\0\0\002\0%048d\125\252" 0 | tr 0 "\0" |
              dd of=$disk bs=1 seek=446 status=none
      blockdev --rereadpt $disk; udevadm settle; mke2fs -qF ${disk}p1; mount ${disk}p1 /run/lab'
refused mounted "${disk}p1 is mounted at /run/lab"
host 'umount /run/lab; dd if=/dev/zero of=$disk bs=1M count=2 status=none; blockdev --rereadpt $disk; udevadm settle'

host 'losetup /dev/loop0 $disk'
refused device-mapper "$disk backs the loop device /dev/loop0"
host 'losetup -d /dev/loop0'

for node in "$disk" "${disk/nvme/ng}" "${disk%n1}"; do
        host "systemd-run -q --collect --unit lab-open sh -c 'exec sleep 1000 <$node'
              until ls -l /proc/\$(systemctl show -P MainPID lab-open)/fd | grep -q '$node\$'; do sleep 0.1; done"
        refused open-by-process "$node is open in sleep (PID " 'lab-open.service'
        host 'systemctl stop lab-open'
done

# Mapped, by a process that has closed it.
cat >"$LAB_RUN/map.py" <<'MAP'
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
fd = os.open(sys.argv[1], os.O_RDONLY)
assert libc.mmap(None, ctypes.c_size_t(4096), 1, 2, fd, ctypes.c_long(0)) != ctypes.c_void_p(-1).value
os.close(fd)
open('/run/lab-mapped', 'w').close()
signal.pause()
MAP
host "printf '%s' '$(base64 -w 0 "$LAB_RUN/map.py")' | base64 -d >/run/lab-map.py
      systemd-run -q --collect --unit lab-map python3 /run/lab-map.py \$disk
      until test -e /run/lab-mapped; do sleep 0.1; done"
refused open-by-process "$disk is open in python3 (PID " 'lab-map.service'
host 'systemctl stop lab-map; rm /run/lab-map*'

# The journal of a file system that lies elsewhere.
host 'mke2fs -qF -b 4096 -O journal_dev $disk
      truncate -s 16M /run/lab-films; mke2fs -qF -b 4096 -J device=$disk /run/lab-films
      mount -o loop /run/lab-films /run/lab'
refused mounted "$disk holds the journal of a mounted file system"
host 'umount /run/lab; rm /run/lab-films; wipefs -qa $disk'

# What anybody can do makes no use of it.
host 'systemd-run -q --collect --unit lab-forger -p User=alice unshare -rm forger $disk
      until test -e /tmp/forged; do sleep 0.1; done'
as bob vmkitctl explain "$FREE"
as root vmkitctl bind "$FREE"
as root vmkitctl release "$FREE"
driver "$FREE" nvme
host 'systemctl stop lab-forger; rm /tmp/forged'

device=$GPU
host 'systemd-run -q --collect --unit lab-open sh -c "exec sleep 1000 </dev/snd/controlC0"
      until ls -l /proc/$(systemctl show -P MainPID lab-open)/fd | grep -q snd; do sleep 0.1; done'
refused open-by-process '/dev/snd/controlC0 is open in sleep (PID ' 'lab-open.service'
host 'systemctl stop lab-open'

host 'systemd-run -q --collect --unit lab-open sh -c "exec sleep 1000 </dev/dri/by-path/pci-0000:03:00.0-card"
      until ls -l /proc/$(systemctl show -P MainPID lab-open)/fd | grep -q dri/; do sleep 0.1; done'
refused drm-in-use 'is open in sleep (PID ' 'lab-open.service'
host 'systemctl stop lab-open'

# The console's picture came to the card when it was let go: that can be allowed.
refused active-connector 'The connector Virtual-2 shows a picture'
as root vmkitctl bind "$GPU" --allow active-connector
as root vmkitctl release "$GPU"

as bob vmkitctl explain "$FREE"
as bob vmkitctl explain "$GPU"
devices_are_home
