"""Work that keeps a guest busy; prints the milliseconds that it took, without what is made ready first.

Not a line of it is timed by who asks: what counts is what a program sees that works in there.
"""

import os
import subprocess
import sys
import tempfile
import time


def loop():
    yield
    i = 0
    while i < 4_000_000:
        i += 1


def tests():
    """A suite as packages have them: modules are imported, temporary files written, programs started."""
    for number in range(10):
        with open(f"test_{number}.py", "w") as module:
            module.write(TESTS)
    yield
    run(sys.executable, "-m", "unittest", "discover", "--quiet")


TESTS = """
import argparse, decimal, email.message, json, os, subprocess, sys, tempfile, unittest, urllib.parse

class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_files(self):
        for n in range(20):
            path = os.path.join(self.folder.name, str(n))
            with open(path, "w") as file:
                json.dump({"n": n, "words": ["word"] * n}, file)
            with open(path) as file:
                self.assertEqual(json.load(file)["n"], n)
        self.assertEqual(len(os.listdir(self.folder.name)), 20)

    def test_arguments(self):
        parser = argparse.ArgumentParser()
        for n in range(30):
            parser.add_argument(f"--flag-{n}", type=int, default=n)
        self.assertEqual(parser.parse_args(["--flag-3", "7"]).flag_3, 7)

    def test_numbers(self):
        total = sum(decimal.Decimal(n) / 7 for n in range(1, 3000))
        self.assertGreater(total, 1)

    def test_addresses(self):
        for n in range(500):
            parts = urllib.parse.urlsplit(f"https://host{n}.example/path?q={n}#f")
            self.assertEqual(parts.fragment, "f")

    def test_program(self):
        done = subprocess.run(["sh", "-c", "echo out; exit 3"], capture_output=True)
        self.assertEqual((done.stdout, done.returncode), (b"out\\n", 3))
"""


def compile():
    """A C project of a few files."""
    for number in range(5):
        with open(f"file{number}.c", "w") as source:
            source.write(C_HEAD)
            for n in range(5):
                source.write(C_FUNCTION.replace("@", f"{number}_{n}"))
    with open("main.c", "w") as source:
        source.write("int main(void) { return 0; }\n")
    yield
    for number in range(5):
        run("gcc", "-O2", "-Wall", "-c", f"file{number}.c")
    run("gcc", "-O2", "-o", "program", "main.c", *(f"file{n}.o" for n in range(5)))
    run("./program")


C_HEAD = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <ctype.h>\n"

C_FUNCTION = """
struct list@ { struct list@ *next; char *word; size_t count; };
struct list@ *count@(const char *text) {
    struct list@ *all = NULL;
    while (*text) {
        while (*text && isspace((unsigned char)*text)) text++;
        const char *from = text;
        while (*text && !isspace((unsigned char)*text)) text++;
        size_t size = (size_t)(text - from);
        struct list@ *one = all;
        while (one && (strlen(one->word) != size || strncmp(one->word, from, size))) one = one->next;
        if (!one) {
            one = malloc(sizeof *one);
            one->word = malloc(size + 1);
            memcpy(one->word, from, size);
            one->word[size] = 0;
            one->count = 0;
            one->next = all;
            all = one;
        }
        one->count++;
    }
    for (struct list@ *one = all; one; one = one->next) printf("%s %zu\\n", one->word, one->count);
    return all;
}
"""


def files():
    """A repository of a thousand files: all of them read and committed, then looked through."""
    for number in range(1000):
        os.makedirs(f"{number // 50}", exist_ok=True)
        with open(f"{number // 50}/{number}", "w") as file:
            file.write(f"line {number}\n" * 20)
    run("git", "init", "--quiet")
    yield
    run("git", "add", ".")
    run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    run("git", "status", "--porcelain")


def run(*words):
    subprocess.run(words, check=True)


with tempfile.TemporaryDirectory(dir=os.environ.get("WORK", "/var/tmp")) as folder:
    os.chdir(folder)
    work = globals()[sys.argv[1]]()
    next(work)
    started = time.perf_counter()
    for _ in work:
        pass
    print((time.perf_counter() - started) * 1000)
    os.chdir("/")
