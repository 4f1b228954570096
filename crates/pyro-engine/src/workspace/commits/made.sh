# Counts commits. Arguments: the folder, HEAD at the beginning and the branch that it was on (or
# nothing), the tips of then.
first=$1 branch=$2
shift 2
ask rev-parse -q --verify 'HEAD^{commit}' >/dev/null || { echo 'no commits'; exit 0; }
known=$(still_there "$@")
echo "branch $(ask symbolic-ref -q --short HEAD)"
echo "count $(ask rev-list --count --no-merges HEAD --not $known)"
echo "merges $(ask rev-list --count --merges HEAD --not $known)"
# A mail's message ends for `git am` at lines that look like a patch.
looks='^(diff -|Index: |---( [^ ]|[[:space:]]*$))'
echo "unmailable $(ask rev-list --count --no-merges -E --grep="$looks" HEAD --not $known)"
echo "elsewhere $(ask rev-list --count --no-merges --branches --not HEAD $known)"
echo "base $(ask rev-list --boundary --topo-order HEAD --not $known | sed -n 's/^-//p' | tail -n 1)"
# On another branch than at the beginning nothing is lost that the first one still has.
if [ -n "$first" ] && ! ask merge-base --is-ancestor "$first" HEAD 2>/dev/null; then
    if [ "$(ask symbolic-ref -q HEAD)" = "$branch" ] ||
        [ -z "$(ask for-each-ref --count=1 --contains "$first" refs/heads 2>/dev/null)" ]; then
        echo rewritten
    fi
fi
ask rev-list --no-merges --max-count=10 --format='subject %s' HEAD --not $known
echo end
