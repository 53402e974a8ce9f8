# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A binding can put the image's descriptor right into the options of CreateVM; here Python's.

cat >"$LAB_RUN/create.py" <<'PYTHON'
import os
from gi.repository import Gio, GLib

bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
files = Gio.UnixFDList.new()
image = files.append(os.open("debian-12.qcow2", os.O_RDONLY))
options = {
    "memory": GLib.Variant("t", 1 << 30),
    "cpus": GLib.Variant("u", 1),
    "firmware": GLib.Variant("s", "bios"),
    "image": GLib.Variant("h", image),
}
reply, _ = bus.call_with_unix_fd_list_sync(
    "org.vmkit.Manager", "/org/vmkit/Manager", "org.vmkit.Manager", "CreateVM",
    GLib.Variant("(sa{sv})", ("gaming-vm", options)), None, 0, 60000, files)
print(reply[1])
PYTHON

as alice python3 -c "$(<"$LAB_RUN/create.py")"
job=$(<"$OUTPUT")
TIMEOUT=300 as alice job-done "$job"
as alice vmkitctl list
contains "$VM" stopped
as alice vmkitctl destroy --yes "$VM"
