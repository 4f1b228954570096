"""Runs images as pyro does and as Docker does, and compares what the guests are like: variables, user, folder, exit
status and every file. `scripts/compare-with-docker` starts it, beside an engine of its own.

What is to differ is named here, and nowhere else.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from images import all_of, run

PYRO = os.environ["PYRO_BIN"]
KINDS = ("vm", "gvisor")

# Docker names its containers so, and pyro's commands have shells' variables.
VARIABLES = {"HOSTNAME", "PWD", "SHLVL", "TERM", "LANG", "USER", "LOGNAME", "SHELL", "OLDPWD"}
# Both mount their own there, or write them.
OWN = re.compile(
    r"/(dev|proc|sys|run|workspace|lost\+found|listing|\.dockerenv|etc/(hosts|hostname|resolv\.conf|machine-id|mtab))(/.*)?$"
)
# What a guest gets where the image has not got it (docs/environments.md), and what has other times for that.
FURNISHED = {"/tmp", "/root", "/var", "/etc", "/var/tmp", "/"}
# Where an image names no folder, and no user has one.
ELSEWHERE = {"folder": ("/", "/workspace"), "variable HOME": ("/", "/root")}
# A layer leads through a link of a layer below: pyro follows it, as the guest would; for Docker a folder takes its place.
THROUGH_A_LINK = {"/via", "/via/through", "/real/through"}
BEGUN = time.time()


def listed(text, kind):
    """What a listing says, without what is to differ."""
    told = {}
    for line in text.splitlines():
        word, name, rest = (line.split(" ", 2) + ["", ""])[:3]
        if word == "variable":
            if name not in VARIABLES:
                told[f"variable {name}"] = rest
        elif word in ("user", "folder") and not rest:
            told[word] = name
        elif not OWN.match(name):
            if name in FURNISHED:
                rest = re.sub(r"time=\S+ ", "", rest)
            # Folders that no layer has, but that are above something that one has.
            rest = re.sub(r"time=(\d+)", lambda found: "time=new" if int(found[1]) >= BEGUN else found[0], rest)
            if kind == "gvisor":
                # It shows none.
                rest = re.sub(r"attributes=.*", "attributes=", rest)
            told[name] = f"{word} {rest}"
    return told


def is_meant(name, theirs, ours):
    if theirs is None and name in FURNISHED or name in THROUGH_A_LINK:
        return True
    if ELSEWHERE.get(name) == (theirs, ours):
        return True
    # Where a layer takes something out of a folder, Docker's folder is as old as the container.
    return None not in (theirs, ours) and "time=new" in theirs and re.sub(r"time=\S+", "time=new", ours) == theirs


def differences(docker, pyro):
    for name in sorted(docker.keys() | pyro.keys()):
        ours, theirs = pyro.get(name), docker.get(name)
        if ours != theirs and not is_meant(name, theirs, ours):
            yield f"{name}\n    docker: {theirs}\n    pyro:   {ours}"


def output(*words, status=0):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != status:
        sys.exit(f"{words}: {done.returncode} instead of {status}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def compare(image, folder):
    archive = folder / "docker.tar"
    run("skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{image.for_docker}", f"docker-archive:{archive}:{image.name}:it")
    run("docker", "load", "--quiet", "--input", archive, stdout=subprocess.DEVNULL)
    archive.unlink()
    container = ["docker", "run", "--rm", "--network", "none", f"{image.name}:it"]
    theirs = output(*container, "/listing")
    output(*container, "/listing", "exit", 7, status=7)
    failed = False
    for kind in KINDS:
        guest = [PYRO, "run", f"oci:{image.tag}", "--isolation", kind, "--"]
        ours = output(*guest, "/listing")
        output(*guest, "/listing", "exit", 7, status=7)
        found = list(differences(listed(theirs, kind), listed(ours, kind)))
        print(f"{image.name} ({kind}): {len(theirs.splitlines())} lines, {len(found)} differences", flush=True)
        for one in found[:20]:
            print(f"  {one}")
        failed = failed or bool(found)
    return failed


def main():
    if "DOCKER_HOST" not in os.environ:
        sys.exit(f"no Docker: {os.environ.get('NO_DOCKER_BECAUSE', 'start this with scripts/compare-with-docker')}")
    with tempfile.TemporaryDirectory(prefix="pyro-docker-images.", dir="/var/tmp") as folder:
        folder = Path(folder)
        listing = folder / "listing"
        source = Path(__file__).with_name("listing.rs")
        run("rustc", "--edition=2024", "-O", "-C", "target-feature=+crt-static", "-o", listing, source)
        chosen = (image for image in all_of(folder, listing) if not sys.argv[1:] or image.name in sys.argv[1:])
        failed = [image.name for image in chosen if compare(image, folder)]
    sys.exit(f"these differ: {', '.join(failed)}" if failed else 0)


main()
