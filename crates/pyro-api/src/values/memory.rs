//! Words for a guest whose memory was used up.

use crate::report::Text;

/// What to do when a guest with so much memory had too little.
pub fn more_memory(mem_mib: u32) -> String {
    format!(
        "The guest ran out of its {mem_mib} MiB of memory: give a new VM or workspace more with \
         `--mem-mib` (`mem_mib`), or make the command use less"
    )
}

/// Says what to do about how a command ended, and whether the kernel killed something of it, without which
/// it may have gone on.
pub(crate) fn report_advice(scope: &str, oom_killed: bool, advice: Option<&str>, text: &mut Text) {
    if oom_killed {
        text.err(format!(
            "[{scope}] out of memory: the guest's kernel killed a process of the command"
        ));
    }
    if let Some(advice) = advice {
        text.err(format!("hint: {advice}"));
    }
}
