set -e
[ "$(printf 'one  two\nthree' | ./words)" = 3 ]
[ "$(./words </dev/null)" = 0 ]
[ "$(./words --version)" = "words 1.2" ]
echo "3 checks passed"
