//! Words for a guest whose memory was used up.

use crate::report::Text;

/// What to do when a guest with so much memory had too little.
pub fn more_memory(mem_mib: u32) -> String {
    format!(
        "The guest ran out of its {mem_mib} MiB of memory: give a new VM or workspace more with \
         `--mem-mib` (`mem_mib`), or make the command use less"
    )
}

/// Says that the kernel killed something, where it did. A command may have gone on without it.
pub(crate) fn report_oom_kill(scope: &str, killed: bool, advice: Option<&str>, text: &mut Text) {
    if !killed {
        return;
    }
    text.err(format!(
        "[{scope}] out of memory: the guest's kernel killed a process of the command"
    ));
    if let Some(advice) = advice {
        text.err(format!("hint: {advice}"));
    }
}
