# SPDX-License-Identifier: LGPL-2.1-or-later

# Completion for vmkitctl in fish: vmkitctl itself says what the word could become.

function __vmkitctl_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)

    for line in (vmkitctl --complete $words[2..] "$word" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$word"
            case :hosts
                __fish_print_hostnames
            case '*'
                echo $line
        end
    end
end

complete -c vmkitctl -f -a '(__vmkitctl_complete)'
