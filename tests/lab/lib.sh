# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What every script of the lab needs: where things are, how to speak, how to reach the lab host.
# Everything the lab makes is below one directory, $LAB, and nothing outside of it changes.

set -euo pipefail

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(cd "$LAB_SOURCE/../.." && pwd)
LAB=${VMKIT_LAB_DIR:-$TREE/build/lab}
LAB_RUN=$LAB/${VMKIT_LAB_INSTANCE:-run}   # of one running lab: pid, port, sockets, overlay
LAB_KEY=$LAB/keys/id_ed25519     # opens every account of the lab host

say() {
        printf '%s\n' "$*" >&2
}

die() {
        say "${0##*/}: $*"
        exit 1
}

# Seconds since $1, a value of $EPOCHREALTIME.
since() {
        local now=$EPOCHREALTIME
        printf '%d.%d' $(((${now/./} - ${1/./}) / 1000000)) $(((${now/./} - ${1/./}) / 100000 % 10))
}

# step TEXT COMMAND…: runs it with its output in a log, which is shown where it fails.
step() {
        local text=$1 began=$EPOCHREALTIME log
        shift
        mkdir -p "$LAB/log"
        log=$LAB/log/${LAB_RUN##*/}-$(tr -c 'A-Za-z0-9\n' - <<<"$text").log
        if "$@" </dev/null >"$log" 2>&1; then
                say "  $text: $(since "$began") s"
        else
                say "  $text: FAILED after $(since "$began") s; the end of $log:"
                tail -n 40 "$log" >&2
                return 1
        fi
}

# eventually SECONDS COMMAND…: tries again until it succeeds.
eventually() {
        local deadline=$((SECONDS + $1))
        shift
        until "$@"; do
                [ "$SECONDS" -lt "$deadline" ] || return 1
                sleep 0.5
        done
}

# Which may be later than vmkitd is ready: libvirtd is started by being asked, and looks at every QEMU first.
libvirt_has_answered() {
        lab_as root vmkitctl list >/dev/null 2>&1
}

lab_is_running() {
        [ -s "$LAB_RUN/pid" ] && kill -0 "$(<"$LAB_RUN/pid")" 2>/dev/null
}

# The lab host is made anew all the time, so its host key proves nothing; it listens on loopback.
lab_ssh_options() {
        cat <<-OPTIONS
		IdentityFile $LAB_KEY
		Port $(<"$LAB_RUN/port")
		HostName 127.0.0.1
		IdentitiesOnly yes
		BatchMode yes
		StrictHostKeyChecking no
		UserKnownHostsFile /dev/null
		LogLevel ERROR
		ConnectTimeout 10
		ServerAliveInterval 20
		ServerAliveCountMax 6
		ControlPath $(<"$LAB_RUN/sockets")/%r
	OPTIONS
}

# connect USER: one connection for all that is asked as this user, made when first needed. It is a
# process of its own that holds no file of ours, so a command that is killed leaves nothing behind.
connect() {
        local user=$1
        ssh -F "$LAB_RUN/ssh_config" -O check "$user@lab" 2>/dev/null && return
        timeout 60 ssh -F "$LAB_RUN/ssh_config" -o ControlMaster=yes -o ControlPersist=yes -fN \
                "$user@lab" </dev/null >/dev/null 2>&1 || say "no connection as $user"
}

# lab_as USER COMMAND…: as that user on the lab host. The arguments arrive there as they are here.
lab_as() {
        local user=$1
        shift
        connect "$user"
        ssh -F "$LAB_RUN/ssh_config" "$user@lab" "${*@Q}"
}
