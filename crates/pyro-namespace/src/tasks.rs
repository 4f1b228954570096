//! Whether `RLIMIT_NPROC` is good for one namespace alone.

/// The first Linux that counts processes for each user namespace. Before it all those of a user were
/// counted together.
const SINCE: (u32, u32) = (5, 14);

/// Whether this host counts the processes of each user namespace apart.
pub fn counts_tasks_apart() -> bool {
    let release = nix::sys::utsname::uname();
    release.is_ok_and(|release| counts_apart(&release.release().to_string_lossy()))
}

fn counts_apart(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) >= SINCE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_kernels_count_all_of_a_user_together() {
        for (release, apart) in [
            ("6.18.44", true),
            ("5.14.0-1-amd64", true),
            ("5.10.0-28-cloud-amd64", false),
            ("4.19.0", false),
            ("10.0-rc1", true),
            ("", false),
        ] {
            assert_eq!(counts_apart(release), apart, "{release}");
        }
    }
}
