//! A patch in any form: unified, of a mail, with binary content, from `*** Begin Patch` on. It is
//! applied to some small files.

use pyro_patch::{Node, Patch, decode_mail};

use crate::Target;
use crate::seeds::{Seed, SeedError};

pub(crate) const TARGET: Target = Target {
    name: "patch",
    play,
    seeds,
    mend: |_| {},
    inputs: 40_000,
};

fn play(bytes: &[u8]) -> bool {
    let Ok(text) = decode_mail(bytes) else {
        return false;
    };
    let Ok(mut patch) = Patch::parse(&text) else {
        return false;
    };
    if patch.mentions_folder("s/api") {
        let _ = patch.strip_folder("s/api");
    }
    let Ok(reads) = patch.reads() else {
        return false;
    };
    let old = |path: &[u8]| {
        assert!(reads.contains(path), "{} was not read", path.escape_ascii());
        match path {
            b"x" => file(b"class A:\n  def f():\n    one\n    two\n"),
            b"y" => file(b"one\r\ntwo\r\nthree"),
            b"bin" => file(&std::array::from_fn::<u8, 256, _>(|at| at as u8)),
            b"link" => Node::Link {
                target: b"x".to_vec(),
            },
            _ => Node::Missing,
        }
    };
    match patch.plan(old) {
        Ok(plan) => {
            for change in plan.changes {
                let mut parts = change.path.split(|byte| *byte == b'/');
                assert!(parts.all(|part| !matches!(part, b"" | b"." | b".." | b".git")));
            }
            true
        }
        Err(error) => {
            assert!(error.to_string().len() < 100_000);
            false
        }
    }
}

fn file(content: &[u8]) -> Node {
    Node::File {
        content: content.into(),
        mode: 0o644,
    }
}

/// As git and models write them, for the files above.
fn seeds() -> Result<Vec<Seed>, SeedError> {
    let unified = "\
--- a/x
+++ b/x
@@ -2,3 +2,3 @@
   def f():
-    one
+    1
     two
";
    let git = "\
diff --git a/y b/y
index bc16163..4458b5d 100644
--- a/y
+++ b/y
@@ -1,3 +1,3 @@
 one\r
-two\r
+zwei\r
 three
\\ No newline at end of file
diff --git a/x b/z
old mode 100644
new mode 100755
similarity index 77%
rename from x
rename to z
index 49e8d5c..8537bef
--- a/x
+++ b/z
@@ -1,4 +1,4 @@
 class A:
   def f():
-    one
+    1
     two
";
    let in_folder = git
        .replace("a/", "a/s/api/")
        .replace("b/", "b/s/api/")
        .replace("rename from ", "rename from s/api/")
        .replace("rename to ", "rename to s/api/");
    let binary = "\
diff --git a/bin b/bin
index c86626638e0bc8cf47ca49bb1525b40e9737ee64..b41b0828c0b8fb5389100a24b60d6c2b95e064a0 100644
GIT binary patch
delta 12
TcmZo*YG7hvU}Q?3$npmO52phF

delta 12
TcmZo*YG7hvU}R#R$npmO4krSj

diff --git a/zeros b/zeros
new file mode 100644
index 0000000000000000000000000000000000000000..106bf3ffedc65453d4c9249eb21f0cde1da4c0c1
GIT binary patch
literal 300
NcmZQz7zM<J0003j00961

literal 0
HcmV?d00001

";
    let begin_patch = "\
*** Begin Patch
*** Update File: x
*** Move to: z
@@ class A:
@@ def f():
-    one
+    1
*** Add File: s/api/new
+new
*** Delete File: y
*** End Patch
";
    let head = "\
From 49b866913d2c69b4350caa6691244dab340b8475 Mon Sep 17 00:00:00 2001
From: A <a@b>
Subject: [PATCH] a change
";
    let mail = format!(
        "{head}\n---\n x | 2 +-\n 1 file changed\n\ndiff --git a/x b/x\n{unified}-- \n2.47.3\n\n{head}\
         Content-Transfer-Encoding: quoted-printable\n\n---\n--- a/y\n+++ b/y\n=40=40 -1,3 +1,3 =40=\n=40\n\
         =20one=0D\n-two=0D\n+zwei=0D\n three\n\\ No newline at end of file\n-- =\n\n2.47.3\n"
    );
    let parts = format!(
        "{head}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"--x\"\n\n\n----x\n\
         Content-Type: text/plain\n\nwords\n----x\nContent-Type: text/x-patch; name=\"a.patch\"\n\
         Content-Transfer-Encoding: base64\n\n\
         LS0tIGEveAorKysgYi94CkBAIC0yLDMgKzIsMyBAQAogICBkZWYgZigpOgotICAgIG9uZQorICAg\n\
         IDEKICAgICB0d28K\n----x--\n"
    );
    Ok(vec![
        Seed::new("unified", unified),
        Seed::new("git", git),
        Seed::new("folder", in_folder),
        Seed::new("binary", binary),
        Seed::new("begin_patch", begin_patch),
        Seed::new("mail", mail),
        Seed::new("parts", parts),
    ])
}
