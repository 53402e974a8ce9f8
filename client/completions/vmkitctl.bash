# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash

# Completion for vmkitctl in bash: vmkitctl itself says what the word could become.

_vmkitctl() {
        # shellcheck disable=SC2034 # prev is set by _init_completion
        local cur prev words cword candidate _

        _init_completion -n := || return

        while IFS=$'\t' read -r candidate _; do
                case $candidate in
                :files) cur=${cur#--*=} _filedir ;;
                :hosts) _known_hosts_real -- "$cur" ;;
                *) COMPREPLY+=("$candidate") ;;
                esac
        done < <(vmkitctl --complete "${words[@]:1:cword}" 2>/dev/null)

        # More than one file can follow ADDRESS=, and none of them a space.
        [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace

        # Readline completes what stands behind the last '=' or ':'.
        if [[ $cur == *:* ]]; then
                __ltrim_colon_completions "$cur"
        elif [[ $cur == --*=* ]]; then
                COMPREPLY=("${COMPREPLY[@]#--*=}")
        fi
}

complete -F _vmkitctl vmkitctl
