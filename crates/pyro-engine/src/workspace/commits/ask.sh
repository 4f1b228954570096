# What the other scripts begin with: git, as no setting of the guest's user changes it. It is told the
# repository's own folder, so that it asks neither whose that is nor for a work tree.
export LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 GIT_NO_LAZY_FETCH=1
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_NAMESPACE
command -v git >/dev/null 2>&1 || { echo 'no git'; exit 0; }
folder=$1
shift
ask() { git --git-dir="$folder" "$@"; }
# Of the commits that the rest of the arguments name, those that are still there.
still_there() {
    [ $# -gt 0 ] || return 0
    printf '%s\n' "$@" | ask cat-file --batch-check='%(objectname) %(objecttype)' | sed -n 's/ commit$//p'
}
