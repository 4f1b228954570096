# Counts commits. Arguments: the folder, HEAD at the beginning (or nothing), the tips of then.
first=$1
shift
ask rev-parse -q --verify 'HEAD^{commit}' >/dev/null || { echo 'no commits'; exit 0; }
known=$(still_there "$@")
echo "branch $(ask symbolic-ref -q --short HEAD)"
echo "count $(ask rev-list --count --no-merges HEAD --not $known)"
echo "merges $(ask rev-list --count --merges HEAD --not $known)"
echo "elsewhere $(ask rev-list --count --no-merges --branches --not HEAD $known)"
echo "base $(ask rev-list --boundary --topo-order HEAD --not $known | sed -n 's/^-//p' | tail -n 1)"
if [ -n "$first" ] && ! ask merge-base --is-ancestor "$first" HEAD 2>/dev/null &&
    [ -z "$(ask for-each-ref --count=1 --contains "$first" refs/heads 2>/dev/null)" ]; then
    echo rewritten
fi
ask rev-list --no-merges --max-count=10 --format='subject %s' HEAD --not $known
echo end
