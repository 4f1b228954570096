"""Images of many kinds, made with other people's tools. Each is a layout of the OCI with one image called `it`."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

CAPABILITY = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
TIME = 1_000_000_000


def run(*words, **more):
    return subprocess.run([str(word) for word in words], check=True, **more)


def member(name, kind=tarfile.REGTYPE, mode=0o644, owner=(0, 0), target="", attributes=None):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime, info.linkname = kind, mode, TIME, target
    info.uid, info.gid = owner
    for key, value in (attributes or {}).items():
        info.pax_headers[f"SCHILY.xattr.{key}"] = value
    return info


def layer(path, *members):
    """Writes a tar archive of members, each with its contents or alone."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for one in members:
            info, data = one if isinstance(one, tuple) else (one, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


class Image:
    def __init__(self, folder, name):
        self.name, self.layout = name, folder / name
        # What Docker gets, where it is to be another copy of the same.
        self.for_docker = self.tag
        run("umoci", "init", "--layout", self.layout)
        run("umoci", "new", "--image", self.tag)

    @property
    def tag(self):
        return f"{self.layout}:it"

    def insert(self, source, target):
        run("umoci", "insert", "--image", self.tag, source, target)

    def add(self, archive):
        run("umoci", "raw", "add-layer", "--image", self.tag, archive)

    def configure(self, *words):
        run("umoci", "config", "--image", self.tag, *words)


def debian(folder):
    """The base of a distribution, with users, capabilities, set-user-ID programs and links of all kinds."""
    image = Image(folder, "debian")
    archive = folder / "debian.tar"
    run("mmdebstrap", "--quiet", "--variant=essential", "--mode=root", "--skip=output/dev", "bookworm", archive)
    image.add(archive)
    image.configure("--config.env", "LANG=C.UTF-8", "--config.env", "MODE=a b", "--config.workingdir", "/srv")
    return image


def busybox(folder):
    """A shell that is one static program, put together by Buildah."""
    image = Image(folder, "busybox")
    root = folder / "busybox-root"
    for name in ("bin", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in ("sh", "ls", "cat"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    buildah = ["buildah", "--root", folder / "buildah", "--runroot", folder / "buildah-run", "--storage-driver", "vfs"]
    container = run(*buildah, "from", "scratch", capture_output=True, text=True).stdout.strip()
    run(*buildah, "copy", "--quiet", container, root, "/", stdout=subprocess.DEVNULL)
    shutil.rmtree(image.layout)
    run(*buildah, "commit", "--quiet", container, f"oci:{image.tag}", stdout=subprocess.DEVNULL)
    return image


def one_program(folder):
    """Nothing but a program, which the listing itself will be."""
    image = Image(folder, "one-program")
    image.configure("--config.workingdir", "/made/by/nobody", "--config.env", "PATH=/nowhere")
    return image


def many_layers(folder):
    image = Image(folder, "many-layers")
    text = folder / "text"
    for number in range(60):
        text.write_text(f"layer {number}\n" * number)
        image.insert(text, f"/of/{number % 7}/file{number % 50}")
    return image


def odd(folder):
    """Whiteouts of each kind, hard links, links in the way, names and members that are rare. A hard link to a file of a
    layer below is not among them: Docker refuses it, and pyro takes it."""
    image = Image(folder, "odd")
    folders = [member(name, tarfile.DIRTYPE, 0o755) for name in ("a", "a/sub", "b", "c", "real", "over")]
    image.add(layer(
        folder / "odd1.tar",
        *folders,
        (member("a/kept", mode=0o4755, owner=(1000, 100)), b"kept"),
        (member("a/gone"), b"gone"),
        (member("a/sub/gone"), b"gone"),
        (member("b/opaque"), b"gone"),
        (member("c/linked"), b"linked"),
        member("c/second", tarfile.LNKTYPE, target="c/linked"),
        member("via", tarfile.SYMTYPE, 0o777, target="real"),
        member("fifo", tarfile.FIFOTYPE, 0o600),
        (member("able", mode=0o755, attributes={"security.capability": CAPABILITY, "user.note": "text"}), b"able"),
        (member("over/file"), b"a file"),
        member("over/folder", tarfile.DIRTYPE, 0o700),
        (member("over/folder/inside"), b"gone"),
        (member("n" * 120 + "/" + "m" * 200), b"a long name"),
        (member("ein umlaut \xe4 und\nzwei zeilen"), b"a rare name"),
    ))
    image.add(layer(
        folder / "odd2.tar",
        member("a/.wh.gone"),
        member("a/.wh.sub"),
        member("b/.wh..wh..opq"),
        (member("b/new", mode=0o600), b"new"),
        member("d", tarfile.DIRTYPE, 0o2775, owner=(0, 50)),
        (member("d/one", mode=0o604), b"one"),
        member("d/two", tarfile.LNKTYPE, target="d/one"),
        (member("via/through"), b"through a link"),
        member("over/file", tarfile.DIRTYPE, 0o711),
        (member("over/folder"), b"a file now"),
        member("a/.wh.never-there"),
    ))
    return image


def zstd(folder, like):
    """The same again, compressed in another way."""
    image = Image(folder, f"zstd-{like.name}")
    shutil.rmtree(image.layout)
    run("skopeo", "copy", "--quiet", "--insecure-policy", "--dest-compress", "--dest-compress-format", "zstd",
        f"oci:{like.tag}", f"oci:{image.tag}")
    # Archives for `docker load` cannot be compressed so.
    image.for_docker = like.tag
    return image


def all_of(folder, listing):
    for make in (debian, busybox, one_program, many_layers, odd):
        image = make(folder)
        image.insert(listing, "/listing")
        yield image
        if make is odd:
            yield zstd(folder, image)
