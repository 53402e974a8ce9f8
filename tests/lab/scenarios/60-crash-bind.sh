# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bind and release by hand, and at every point where a helper passes, the helper and vmkitd are killed.

mapfile -t points < <(fault_points)
rows bind release

bind_gpu() {
        as root vmkitctl bind "$GPU"
}

release_gpu() {
        as root vmkitctl release "$GPU"
}

for point in "${points[@]}"; do
        case $point in
        bind-*)
                for n in 1 2; do
                        crash bind "$point $n kill-both" bind_gpu
                        [ "$(place)" = home ] || release_gpu
                done ;;
        release-*)
                for n in 1 2; do
                        bind_gpu
                        crash release "$point $n kill-both" release_gpu
                        [ "$(place)" = home ] || release_gpu
                done ;;
        esac
done
