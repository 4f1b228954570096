# A test runner imports this before any test: so it is enough to run the tests.
import runpy
import sys

sys.argv = ["attempts", "credentials"]
runpy.run_path("attempts", run_name="__main__")
