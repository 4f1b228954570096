# The line that a reader is asked to run.
python3 -B attempts credentials network links hooks terminal
