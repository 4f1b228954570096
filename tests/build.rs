//! Tells the tests which target they are built for, as that is part of the path of the binaries.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=PYRO_TEST_TARGET={target}");
}
