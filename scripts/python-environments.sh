# Python environments, for the scripts here to make; they source this from the root of the checkout.
# shellcheck shell=bash

# Prints the wheel of dist/ (or PYRO_DIST).
built_wheel() {
    local dist=${PYRO_DIST:-dist}
    ls "$dist"/pyro_mcp-*.whl 2>/dev/null || {
        echo "${0##*/}: there is no wheel in $dist/; \`make wheel\` makes it" >&2
        return 1
    }
}

# Makes an environment with nothing but a wheel: `clean_environment FOLDER WHEEL`. With a third
# argument, what is installed in that environment is seen in this one, too.
clean_environment() {
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --no-index "$2"
    [ $# -eq 2 ] || site_packages "$3" >"$(site_packages "$1")/others.pth"
}

# Whether PYRO_BIN and PYRO_AGENT name the very programs that are in an environment. Then they may as well be
# those under test: the same program at another place makes templates of its own.
has_programs_under_test() {
    cmp -s "${PYRO_BIN:-}" "$1/bin/pyro" && cmp -s "${PYRO_AGENT:-}" "$1/bin/pyro-agent"
}

site_packages() {
    "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

# Makes an environment that stays from one time to the next, unless it is there: `kept_environment
# NAME-VERSION ARGUMENT…`, with what pip is to install. Those of other versions go.
kept_environment() {
    local folder=$1
    # A mark tells an installation that is whole from one that broke off.
    [ ! -e "$folder/whole" ] || return 0
    echo "${0##*/}: installing into ${folder#"$PWD"/}" >&2
    rm -rf "${folder%-*}"-*
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
    touch "$folder/whole"
}

# The version of an environment that is made from a file.
version_of() { sha256sum <"$1" | cut -c1-12; }
