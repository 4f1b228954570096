# Writes the commits, the oldest first, as mails. Arguments: the folder, how many commits to leave out,
# how many bytes of mails to write, the tips of the beginning.
skip=$1 bytes=$2
shift 2
known=$(still_there "$@")
ids=$(ask rev-list --topo-order --reverse --no-merges HEAD --not $known | tail -n +$((skip + 1)))
printf '%s\n\n' "$ids"
count=$(printf '%s' "$ids" | grep -c .)
[ "$count" -gt 0 ] || { echo 'status 0' >&2; exit 0; }
{
    ask format-patch --stdout --topo-order "-$count" --no-numbered --binary --full-index -M -U3 \
        --no-ext-diff --no-textconv --no-color --no-attach --no-thread --no-cover-letter --no-signature \
        --no-notes --no-signoff --subject-prefix=PATCH --pretty=mboxrd --no-relative --no-base --submodule=short --ignore-submodules=none \
        --src-prefix=a/ --dst-prefix=b/ HEAD --not $known
    echo "status $?" >&2
} | head -c "$bytes"
