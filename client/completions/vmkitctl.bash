# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash

# Completion for vmkitctl. Commands and options come from its own help, names from the running service.

__vmkitctl_verbs() {
        vmkitctl --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\).*/\1/p' | sort -u
}

__vmkitctl_options() {
        vmkitctl "$@" --help 2>/dev/null | grep -oE -- '--[a-z-]+' | sort -u
}

# The first column of a table, without its title: names of VMs, images, jobs.
__vmkitctl_names() {
        vmkitctl "$@" 2>/dev/null | awk 'NR > 1 { print $1 }'
}

__vmkitctl_addresses() {
        vmkitctl devices 2>/dev/null | grep -oE '[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]'
}

# The words that stand after an option; fails for those that take none we know.
__vmkitctl_values() {
        case $1 in
        --kind) echo gpu nvme audio usb network storage bridge other ;;
        --gpu) echo auto auto:nvidia auto:amd auto:intel; __vmkitctl_addresses ;;
        --nvme) echo auto; __vmkitctl_addresses ;;
        --passthrough) __vmkitctl_addresses ;;
        --on-stop) echo host hold ;;
        --allow) echo has-data fstab boot-display framebuffer-console active-connector no-reset ;;
        --graphics) echo none spice vnc ;;
        --firmware) echo uefi bios ;;
        --hugepages) echo none auto 2M 1G ;;
        --guest-os) echo linux windows other ;;
        --pin) echo none auto ;;
        --numa) echo none auto; find /sys/devices/system/node -name 'node[0-9]*' -printf '%f\n' | sed 's/node//' ;;
        --network) echo none user default ;;
        *) return 1 ;;
        esac
}

# What stands at place $2 (from 1) behind verb $1.
__vmkitctl_operands() {
        case $1:$2 in
        start:1 | stop:1 | reboot:1 | pause:1 | resume:1 | info:1 | console:1 | display:1 | destroy:1 | \
                attach:1 | detach:1 | autostart:1) __vmkitctl_names list ;;
        attach:2 | detach:2 | bind:1 | release:1 | reset:1 | reserve:1 | unreserve:1 | vfs:1 | \
                clear-quarantine:1) __vmkitctl_addresses ;;
        explain:1) echo gpu nvme; __vmkitctl_addresses ;;
        autostart:2) echo on off ;;
        create:2) __vmkitctl_names image list | sed 's/^/@/' ;;
        image:1) echo import list remove ;;
        image:2) __vmkitctl_names image list ;;
        cancel:1) __vmkitctl_names jobs ;;
        help:1) __vmkitctl_verbs ;;
        esac
}

_vmkitctl() {
        local cur prev words cword verb='' place=0 i

        _init_completion -n : || return

        if __vmkitctl_values "$prev" >/dev/null; then
                mapfile -t COMPREPLY < <(compgen -W "$(__vmkitctl_values "$prev")" -- "$cur")
                __ltrim_colon_completions "$cur"
                return
        fi
        case $prev in
        --cdrom | --ssh-key | --user-data | --rom) _filedir; return ;;
        esac

        for ((i = 1; i < cword; i++)); do
                [[ ${words[i]} == -* ]] && continue
                if [[ -z $verb ]]; then verb=${words[i]}; else ((place++)); fi
        done

        if [[ $cur == -* ]]; then
                # shellcheck disable=SC2086 # without a verb there is no word
                mapfile -t COMPREPLY < <(compgen -W "$(__vmkitctl_options $verb)" -- "$cur")
        elif [[ -z $verb ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(__vmkitctl_verbs)" -- "$cur")
        else
                mapfile -t COMPREPLY < <(compgen -W "$(__vmkitctl_operands "$verb" $((place + 1)))" -- "$cur")
                __ltrim_colon_completions "$cur"
                [[ $verb:$((place + 1)) == create:2 && $cur != @* ]] && _filedir
                [[ $verb == image && $place == 2 ]] && _filedir
        fi
}

complete -F _vmkitctl vmkitctl
