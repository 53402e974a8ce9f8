#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A VM with an NVMe drive by vmkitctl, whose --json is for scripts. Needs jq.
#
#       vmkitctl-json.sh create NAME [IMAGE]    IMAGE: a file, or @NAME of the store
#       vmkitctl-json.sh destroy NAME
#
# MEMORY (such as 8G), CPUS and FIRMWARE (uefi, bios) change what the VM is like.

set -euo pipefail

# Each command prints one document, and an error is one on stderr: {"error": {"name", "message", "remedy"}}. The
# exit code tells what kind of failure it was; see vmkitctl(1).
vmkit() {
        vmkitctl --json "$@"
}

# A plan that cannot be carried out ends with 1 and is a document all the same.
plan() {
        local code=0
        vmkit create "$@" --dry-run || code=$?
        [ "$code" -le 1 ] || return "$code"
}

create() {
        local name=$1 plan
        set -- "$@" --memory "${MEMORY:-8G}" --cpus "${CPUS:-6}" --firmware "${FIRMWARE:-uefi}" --nvme auto

        plan=$(plan "$@")
        echo "$plan" | jq -r '.findings[] | select(.severity != "info") | "\(.severity): \(.detail) \(.remedy)"'
        if [ "$(echo "$plan" | jq .ready)" != true ]; then
                exit 1
        fi
        echo "$plan" | jq -r '.plan.devices[] | "takes \(.address) (\(.kind)) from \(.driver)"'

        vmkit create "$@" --start | jq -r '"\(.vm): \(.state)"'
        vmkit info "$name" | jq -r '.addresses[] | "address \(.)"'
}

destroy() {
        vmkit destroy "$1" --force --yes | jq -r '"\(.vm): \(.state)"'
}

case ${1:-}:$# in
create:[23] | destroy:2) "$@" ;;
*)
        sed -n '3,/^$/s/^#//p' "$0" >&2
        exit 2
        ;;
esac
