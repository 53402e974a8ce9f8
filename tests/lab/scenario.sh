# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What scenarios are written with. A scenario is a file of commands that must succeed, one after
# another; the first that does not ends it. What it prints is its log.
#
#   as USER COMMAND…              on the lab host, as alice, bob, admin or root; shows the output
#   expect_fail CODE as USER …    the same, and it must exit with that code
#   contains TEXT                 the output of the last command has it (lacks: has it not)
#   guest COMMAND…                in alice's gaming-vm, once cloud-init is done there
#   typing SCRIPT as USER …       the command on a terminal, with an expect script at its keyboard
#   with_password WORDS as USER … the command on a terminal, where the administrator's password is asked for once,
#                                 behind these words
#   driver ADDRESS NAME           the function is on that driver now
#   wedge_module                  loads tests/lab/wedge, a driver that does not let go
#   reset_host                    the reset button of the lab host; returns when it is up again
#   boot_again [OPTION…]          switches the lab host off, and on with these options of boot; what vmkitd
#                                 does at its start is done then
#
# TIMEOUT is what one command may take, in seconds.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TIMEOUT=${TIMEOUT:-120}
OUTPUT=$LAB_RUN/output
IMAGE=debian-12.qcow2                    # in alice's home
KEY=.ssh/id_ed25519.pub
GPU=0000:03:00.0 AUDIO=0000:03:00.1 FREE=0000:01:00.0 MOUNTED=0000:02:00.0
VM=gaming-vm

# What the issue calls the ordinary case, for those who vary it.
CREATE=(vmkitctl create "$VM" "$IMAGE" --memory 1G --cpus 1 --gpu auto --nvme auto
        --graphics none --firmware bios --ssh-key "$KEY")

# The line of the scenario that led here.
scenario_line() {
        local i
        for i in "${!BASH_SOURCE[@]}"; do
                [[ ${BASH_SOURCE[i]} != */scenarios/* ]] || echo "${BASH_LINENO[i - 1]}"
        done | tail -n 1
}

fail() {
        echo "FAILED in line $(scenario_line): $*"
        exit 1
}

show_output() {
        sed 's/^/    /' "$OUTPUT"
}

as() {
        local user=$1 code=0
        shift
        echo "[$user] $*"
        connect "$user"
        rm -f "$OUTPUT"
        timeout --kill-after=5 "$TIMEOUT" \
                ssh -F "$LAB_RUN/ssh_config" "$user@lab" "${*@Q}" </dev/null >"$OUTPUT" 2>&1 || code=$?
        show_output
        [ "$code" -ne 124 ] || fail "no answer within $TIMEOUT s"
        return "$code"
}

expect_fail() {
        local wanted=$1 code=0
        shift
        "$@" || code=$?
        [ "$code" -eq "$wanted" ] || fail "exit code $code, not $wanted"
}

contains() {
        local text
        for text in "$@"; do
                grep -qiF -- "$text" "$OUTPUT" || fail "the output lacks: $text"
        done
}

lacks() {
        local text
        for text in "$@"; do
                ! grep -qiF -- "$text" "$OUTPUT" || fail "the output has: $text"
        done
}

guest() {
        TIMEOUT=480 as alice guest "$VM" "$@"
}

# qemu_of VM: the process ID of its QEMU. By name there may be others, which libvirt starts to see what QEMU can do.
qemu_of() {
        lab_as root cat "/run/libvirt/qemu/$1.pid"
}

# json EXPRESSION: of the last output, which was one document, called d.
json() {
        /usr/bin/python3 -c "import json, sys
d = json.load(open(sys.argv[1]))
print($1)" "$OUTPUT"
}

# equals EXPRESSION VALUE
equals() {
        local found
        found=$(json "$1")
        [ "$found" = "$2" ] || fail "$1 is $found, not $2"
}

driver() {
        as root readlink "/sys/bus/pci/devices/$1/driver" || fail "$1 has no driver"
        grep -q "/$2\$" "$OUTPUT" || fail "$1 is not on $2"
}

# For `eventually`: the function is on that driver by now.
is_on() {
        [[ $(lab_as root readlink "/sys/bus/pci/devices/$1/driver") = */"$2" ]]
}

# vmkitd has compared what it knows with libvirt, which is when it begins jobs of its own, and they have ended.
has_settled() {
        libvirt_has_answered &&
                lab_as root vmkitctl --json jobs >"$OUTPUT" &&
                [ "$(json "any(x['state'] == 'running' for x in d)")" = False ]
}

# What was written is on the disk, which has no journal; nothing else of a shutdown is needed.
boot_again() {
        as root sh -c 'sync; echo u >/proc/sysrq-trigger'
        "$LAB_SOURCE/halt" --keep
        "$LAB_SOURCE/boot" --again "$@"
        eventually 240 has_settled || fail 'vmkitd has not settled'
}

# All that a VM was given is where the host had it.
devices_are_home() {
        driver "$FREE" nvme
        driver "$GPU" bochs-drm
        driver "$AUDIO" snd_hda_intel
}

# Built when it is first needed, and again when it or the host's kernel has changed.
wedge_module() {
        local module=$LAB/wedge.ko
        if [ ! "$module" -nt "$LAB_SOURCE/wedge/wedge.c" ] || [ ! "$module" -nt "$LAB/vmlinuz" ]; then
                step 'wedge module' "$LAB_SOURCE/wedge/make-module"
        fi
        connect root
        ssh -F "$LAB_RUN/ssh_config" root@lab 'cat >/run/wedge.ko' <"$module"
        as root insmod /run/wedge.ko
}

# monitor COMMAND: of QEMU's, for the machine that is the lab host. It is over when QEMU prompts again.
monitor() {
        echo "[monitor] $1"
        /usr/bin/python3 - "$LAB_RUN/monitor" "$1" <<-'PYTHON'
		import socket, sys
		def until_prompt(s):
		    answer = b""
		    while not answer.endswith(b"(qemu) "):
		        answer += s.recv(4096) or sys.exit("QEMU is gone")
		with socket.socket(socket.AF_UNIX) as s:
		    s.connect(sys.argv[1])
		    until_prompt(s)
		    s.sendall(sys.argv[2].encode() + b"\n")
		    until_prompt(s)
	PYTHON
}

boot_id() {
        timeout 20 ssh -F "$LAB_RUN/ssh_config" -o ControlPath=none -o ConnectTimeout=5 root@lab \
                cat /proc/sys/kernel/random/boot_id 2>/dev/null
}

has_booted_since() {
        local now
        now=$(boot_id) && [ "$now" != "$1" ]
}

# Nothing is shut down. Only the root file system is made clean first: it has no journal, and would be checked
# for minutes.
reset_host() {
        local before user
        before=$(boot_id)
        as root sh -c 'echo u >/proc/sysrq-trigger
                until grep -q "^[^ ]* / ext4 ro" /proc/mounts; do sleep 0.2; done'
        monitor system_reset
        for user in alice bob admin root; do
                ssh -F "$LAB_RUN/ssh_config" -O exit "$user@lab" 2>/dev/null || true
        done
        eventually 300 has_booted_since "$before" || fail 'the lab host did not come up again'
}

# typing SCRIPT as USER COMMAND…: SCRIPT is what expect(1) does once the command runs.
typing() {
        local script=$1 user=$3 code=0
        shift 3
        echo "[$user, at a terminal] $*"
        rm -f "$OUTPUT"
        cat >"$LAB_RUN/typing.exp" <<-EXPECT
		set timeout $TIMEOUT
		spawn -noecho ssh -tt -o ControlPath=none -F \$env(LAB_CONFIG) \$env(LAB_LOGIN) \$env(LAB_COMMAND)
		expect_before timeout { puts "\nnothing of the kind came"; exit 99 }
		$script
		expect eof
		lassign [wait] pid id failed status
		exit \$status
	EXPECT
        LAB_COMMAND="${*@Q}" LAB_LOGIN="$user@lab" LAB_CONFIG=$LAB_RUN/ssh_config \
                timeout --foreground "$((TIMEOUT + 10))" expect -f "$LAB_RUN/typing.exp" \
                </dev/null >"$OUTPUT" 2>&1 || code=$?
        show_output
        return "$code"
}

# with_password WORDS as USER COMMAND…
with_password() {
        local words=$1
        shift
        typing "
        expect \"$words\"
        expect \"Password: \"
        sleep 3        ;# what is typed before the echo is off is thrown away
        send \"lab\\r\"
        expect {
                \"Password: \" { puts \"\\nasked twice\"; exit 98 }
                eof
        }
        lassign [wait] pid id failed status
        exit \$status
" "$@"
}

set -E
trap 'fail "$BASH_COMMAND"' ERR
