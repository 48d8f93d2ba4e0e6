"""The scripts that make the shells ask `stackrun __complete` (see `completing`). Each asks the program that was typed."""

from __future__ import annotations

from collections.abc import Mapping

_BASH = r"""# stackrun's commands, options, services and rules in bash. Now, and in every shell from ~/.bashrc:
#   eval "$(stackrun completion bash)"
_stackrun() {
    local program=${COMP_WORDS[0]/#\~/$HOME} kind current value before
    local -a answer
    COMPREPLY=()
    mapfile -t answer < <("$program" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
    IFS=$'\t' read -r kind current <<< "${answer[0]-}"
    case $kind in
        files | directories)
            compopt -o filenames 2> /dev/null
            if [ "$kind" = files ]; then
                mapfile -t COMPREPLY < <(compgen -f -- "$2")
            else
                mapfile -t COMPREPLY < <(compgen -d -- "$2")
            fi
            ;;
        words)
            # bash replaces what follows the last = or : alone
            before=${current%"$2"}
            for value in "${answer[@]:1}"; do
                value=${value%%$'\t'*}
                COMPREPLY+=("${value#"$before"}")
            done
            if [ "${#COMPREPLY[@]}" = 1 ] && [ "${COMPREPLY[0]%=}" != "${COMPREPLY[0]}" ]; then
                compopt -o nospace 2> /dev/null
            fi
            ;;
    esac
}
complete -F _stackrun stackrun
"""

_ZSH = r"""#compdef stackrun
# stackrun's commands, options, services and rules in zsh. Now, and in every shell from ~/.zshrc, after compinit:
#   eval "$(stackrun completion zsh)"
# or as a file _stackrun in a directory of $fpath.
_stackrun() {
    local program=${words[1]/#\~/$HOME} line value text
    local -a answer plain open
    answer=("${(@f)$("$program" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)}")
    case ${answer[1]%%$'\t'*} in
        files)
            [[ $PREFIX = -*=* ]] && compset -P '*='
            _files
            ;;
        directories)
            [[ $PREFIX = -*=* ]] && compset -P '*='
            _files -/
            ;;
        words)
            for line in "${(@)answer[2,-1]}"; do
                value=${${line%%$'\t'*}//:/\\:} text=${line#*$'\t'}
                [[ -n $text ]] && text=":$text"
                if [[ $value = *= ]]; then open+=("$value$text"); else plain+=("$value$text"); fi
            done
            (( $#plain )) && _describe -t stackrun stackrun plain
            (( $#open )) && _describe -t stackrun stackrun open -S ''
            ;;
    esac
}
if [[ ${funcstack[1]-} = _stackrun ]]; then _stackrun "$@"; else compdef _stackrun stackrun; fi
"""

_FISH = r"""# stackrun's commands, options, services and rules in fish. In every shell, from now on:
#   stackrun completion fish > ~/.config/fish/completions/stackrun.fish
function __stackrun_complete
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($typed[1] __complete fish $typed[2..-1] "$current" 2> /dev/null)
    set -l flag (string match -r -- '^-[^=]*=' "$current")
    set -l value (string replace -- "$flag" '' "$current")
    switch (string split \t -- "$answer[1]")[1]
        case files
            for found in (__fish_complete_path "$value")
                echo -- "$flag$found"
            end
        case directories
            for found in (__fish_complete_directories "$value")
                echo -- "$flag$found"
            end
        case words
            printf '%s\n' $answer[2..-1]
    end
end
complete -c stackrun -f -a '(__stackrun_complete)'
"""

SCRIPTS: Mapping[str, str] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
