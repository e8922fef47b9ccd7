# SPDX-License-Identifier: GPL-2.0-or-later
"""What bash, zsh and fish source to complete xec and xec-vm.  Pure.

The scripts know nothing: they hand over what is typed, and offer what comes back.
"""

from __future__ import annotations

from openxt_core.errors import BadRequest

_BASH = """\
_{function}() {{
    local IFS=$'\\n'
    COMPREPLY=($({program} --complete-line "${{COMP_LINE:0:COMP_POINT}}" 2>/dev/null))
}}
complete -F _{function} {program}
"""
_ZSH = """\
#compdef {program}
_{function}() {{
    local -a found
    found=("${{(@f)$({program} --complete "${{(@Q)words[2,CURRENT-1]}}" "${{(Q)PREFIX}}" 2>/dev/null)}}")
    (( ${{#found}} )) && compadd -- "${{(@)found:#}}"
}}
compdef _{function} {program}
"""
_FISH = """\
complete -c {program} -f -a '({program} --complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(program: str, shell: str) -> str:
    """Raises BadRequest for a shell that has none."""
    if shell not in SCRIPTS:
        raise BadRequest(f"no completion for {shell!r:.40}; there is one for {', '.join(SCRIPTS)}")
    return SCRIPTS[shell].format(program=program, function=program.replace("-", "_"))
