# Written by `cargo xtask python` from the declarations in pyro-api. Change those instead.
"""The dictionaries that methods return, for type checkers."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class _BuiltEnvironmentSometimes(TypedDict, total=False):
    install_manifest: str | None
    # Why an installed environment cannot be used; absent when all is well.
    problem: str | None
    # When an installed one was made: RFC 3339, in UTC.
    created_at: str | None
    # What an installed one takes on disk, files that it shares with others included.
    disk_bytes: int | None
    # Where an installed one came from.
    made_from: str | None
    # What an OCI image says of itself, also where an environment was made of a workspace that began
    # with one; absent for all other environments.
    image: ImageFacts | None


class BuiltEnvironment(_BuiltEnvironmentSometimes):
    """An environment that was built."""

    name: str
    version: str
    description: str
    default_packages: list[str]
    distribution: str
    distribution_version: str
    platform: str
    # Absent for environments that are built from Debian packages.
    oci_registry: str | None
    oci_repository: str | None
    oci_reference: str | None
    # Of the installed disk: SHA-256 in hex; absent when it is not installed.
    source_digest: str | None
    # The versions of pyro that can use it.
    compatibility: str
    catalog_version: str
    installed: bool
    cache_dir: str
    install_dir: str
    # How many instructions of the file it is made of, those of stages that it copies from included.
    steps: int
    # How many of them had been done before.
    cached: int
    seconds: float
    # What was left out or not used.
    notes: list[str]


class DeletedEnvironment(TypedDict):
    """What became of it."""

    environment: str
    # Disk space that was freed, in bytes; none of what others still stand on.
    freed_bytes: int


class Differences(TypedDict):
    workspace_id: str
    changed: bool
    # Of all that changed, shown or not.
    summary: DifferencesSummary
    # Sorted by path; those in a repository's own folder come last.
    entries: list[DifferencesEntries]
    # The text patches of the entries, one after the other; with `commits` their mailbox.
    patch: str
    # Whether something that belongs in it was left out for its size, here or after `next_skip`.
    patch_truncated: bool
    # Whether it holds every change that such a patch can hold: nothing was too large, binary or
    # skipped. Folders and what lies in a repository's own folder are in none.
    patch_complete: bool
    # New commits, of each repository that has any.
    commits: list[DifferencesCommits]
    # How many more have new commits or other objects and were not checked; `commits` checks one.
    repositories_left_out: int
    # The `skip` that continues behind these entries (or commits).
    next_skip: int | None
    # Sockets, devices and FIFOs, which are not compared.
    skipped: list[str]
    # Whether this call had to start the VM first.
    workspace_started: bool


class DifferencesCommits(TypedDict):
    """Commits that no branch had when the workspace was created."""

    # The repository's folder below `/workspace`, which is `.` itself.
    repository: str
    # How many `HEAD` has, without merges.
    count: int
    # How many merges it has, which a mailbox cannot hold.
    merges: int
    # How many of them `git am` would cut short or refuse, because a line of their message looks like
    # a patch (`---`, `diff --git`): use `git bundle` for those.
    unmailable: int
    # How many other branches have.
    elsewhere: int
    # The branch; null for a detached `HEAD`.
    branch: str | None
    # The newest original commit that they are based on; null if there is none.
    base: str | None
    # Whether `HEAD` has lost commits that it had at the beginning (reset, amend, rebase).
    rewritten: bool
    # First lines, the newest ten, newest first.
    subjects: list[str]
    # Why this is unknown.
    unknown_because: str | None


class DifferencesEntries(TypedDict):
    # Relative to `/workspace`.
    path: str
    status: Literal["added", "modified", "deleted", "type_changed"]
    # What it is now; for what was deleted, what it was.
    artifact_type: Literal["file", "directory", "symlink", "special"]
    # A unified diff, where both sides are text and it was not left out; a model finds it in `patch`
    # alone.
    text_patch: str | None
    # Why there is no text patch: `binary`, `too_large`, `limit` (of this call), `not_a_file`,
    # `repository` (in a repository's own folder) or `mode` (nothing that git tells changed).
    no_patch_because: str | None
    # How many changed objects of a repository this folder represents, over MCP.
    stands_for: int | None
    # Whether its text is not UTF-8; U+FFFD stands for those bytes.
    not_utf8: bool
    # Permission bits in octal, where they changed.
    old_mode: str | None
    new_mode: str | None
    old_size_bytes: int | None
    new_size_bytes: int | None


class DifferencesSummary(TypedDict):
    """Of all that changed, shown or not."""

    total: int
    added: int
    modified: int
    deleted: int
    type_changed: int
    text_patched: int
    non_text: int


class DiskContent(TypedDict):
    workspace_id: str
    # Absolute, as requested.
    path: str
    # Of the whole file.
    size_bytes: int
    max_bytes: int
    # As text: what is not UTF-8 is replaced.
    content: str
    # Whether there is more after what is shown.
    truncated: bool
    # Where in the file the content begins, in bytes.
    offset: int
    # Where to continue reading.
    next_offset: int
    content_encoding: Literal["utf-8", "utf-8-replaced", "base64"]


class DiskExported(TypedDict):
    workspace_id: str
    # Absolute.
    output_path: str
    # Always `ext4`.
    disk_format: str
    # The length of the image; holes in it take no space.
    bytes_written: int


class DiskListing(TypedDict):
    workspace_id: str
    # Absolute, as requested.
    path: str
    recursive: bool
    # Sorted by path.
    entries: list[DiskListingEntries]
    # How many entries there are, shown or not.
    total_entries: int
    # Whether there are more behind what is shown.
    truncated: bool
    # The `skip` that continues there.
    next_skip: int | None


class DiskListingEntries(TypedDict):
    # Absolute in the guest; bytes that are not UTF-8 are replaced.
    path: str
    # What kind of file it is.
    artifact_type: Literal["file", "directory", "symlink", "special"]
    # 0 for folders, the length of the target for links.
    size_bytes: int
    link_target: str | None
    # Permission bits in octal.
    mode: str
    # Seconds since 1970.
    modified_at: float


class _EnvironmentSometimes(TypedDict, total=False):
    install_manifest: str | None
    # Why an installed environment cannot be used; absent when all is well.
    problem: str | None
    # When an installed one was made: RFC 3339, in UTC.
    created_at: str | None
    # What an installed one takes on disk, files that it shares with others included.
    disk_bytes: int | None
    # Where an installed one came from.
    made_from: str | None
    # What an OCI image says of itself, also where an environment was made of a workspace that began
    # with one; absent for all other environments.
    image: ImageFacts | None


class Environment(_EnvironmentSometimes):
    """An environment of the catalog, and whether it is installed here."""

    name: str
    version: str
    description: str
    default_packages: list[str]
    distribution: str
    distribution_version: str
    platform: str
    # Absent for environments that are built from Debian packages.
    oci_registry: str | None
    oci_repository: str | None
    oci_reference: str | None
    # Of the installed disk: SHA-256 in hex; absent when it is not installed.
    source_digest: str | None
    # The versions of pyro that can use it.
    compatibility: str
    catalog_version: str
    installed: bool
    cache_dir: str
    install_dir: str


class ExecResult(TypedDict):
    """What a command did."""

    vm_id: str
    environment: str
    environment_version: str | None
    command: str
    # Standard output; head and tail with a mark between them when it was too long to keep.
    stdout: str
    stderr: str
    # The command's exit status; 128 + N after signal N, 124 after a timeout.
    exit_code: int
    # Time from the start of the command to its end, in milliseconds.
    duration_ms: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    cleanup: VmDeleted
    # The signal that ended the command, if one did.
    signal: int | None
    # Whether the command was ended because it timed out.
    timed_out: bool
    # Whether the guest ran out of memory and its kernel killed a process of the command.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do about how it ended, if there is something to do.
    advice: str | None
    # How many bytes the command wrote, kept or not.
    stdout_bytes: int
    stderr_bytes: int
    # Whether the middle of the text was left out.
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    stderr_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    # `kvm`, `tcg` (emulation), `systrap` (gVisor), or `none` (host process).
    accelerator: str
    # Why this accelerator was chosen.
    accelerator_reason: str
    # Time until the VM answered, in milliseconds.
    boot_ms: int
    # Whether the VM was resumed from a template instead of booted.
    resumed: bool
    # How many boots it took; more than one means that a boot failed.
    boot_attempts: int
    # Whether the VM was on standby; `boot_ms` was spent before the call.
    standby: bool


class Exported(TypedDict):
    workspace_id: str
    workspace_path: str
    # Absolute.
    output_path: str
    # What kind of file it is.
    artifact_type: Literal["file", "directory", "symlink", "special"]
    # 1 for a file or link, all that is in it for a folder.
    entry_count: int
    bytes_written: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # What could not be copied, with the reason: sockets, devices, names this host refuses.
    skipped: list[str]
    # What came out otherwise than it is in the workspace.
    notes: list[str]
    # Whether this call had to start the VM first.
    workspace_started: bool


class ExportedEnvironment(TypedDict):
    """A file that was written."""

    environment: str
    # Absolute.
    output_path: str
    # Of the image's manifest.
    digest: str
    # The length of the file.
    bytes_written: int
    # Files, folders and links in it.
    entry_count: int
    # What an image cannot hold.
    notes: list[str]


class FileContent(TypedDict):
    workspace_id: str
    path: str
    # Of the whole file.
    size_bytes: int
    max_bytes: int
    # As text: empty when the file is binary; else what is not UTF-8 is replaced.
    content: str
    # Whether there is more after what is shown.
    truncated: bool
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Where in the file the content begins, in bytes.
    offset: int
    # Where to continue reading.
    next_offset: int
    # The number of the first line shown, where lines were asked for.
    start_line: int | None
    # Whether there are NUL bytes in what was read; in base64, whether it is anything but UTF-8.
    binary: bool
    content_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    # Permission bits in octal.
    mode: str
    # Whether this call had to start the VM first.
    workspace_started: bool


class FileListing(TypedDict):
    workspace_id: str
    path: str
    recursive: bool
    # Each folder sorted by name, what is in a folder right after it.
    entries: list[FileListingEntries]
    # How many entries there are, shown or not.
    total_entries: int
    # Whether there are more behind what is shown.
    truncated: bool
    # The `skip` that continues there.
    next_skip: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Whether this call had to start the VM first.
    workspace_started: bool


class FileListingEntries(TypedDict):
    # Absolute in the guest; bytes that are not UTF-8 are replaced.
    path: str
    # What kind of file it is.
    artifact_type: Literal["file", "directory", "symlink", "special"]
    # 0 for folders, the length of the target for links.
    size_bytes: int
    link_target: str | None
    # Permission bits in octal.
    mode: str
    # Seconds since 1970.
    modified_at: float


class FileWritten(TypedDict):
    workspace_id: str
    path: str
    size_bytes: int
    bytes_written: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Whether there was no such file before.
    created: bool
    # Whether this call had to start the VM first.
    workspace_started: bool


class ImageFacts(TypedDict):
    """What an OCI image says about the programs in it, and what became of it."""

    # Of its manifest, or of its configuration in an archive of Docker's.
    digest: str
    # Variables of every command, as `NAME=VALUE`.
    env: list[str]
    # Where commands of one-shot VMs run unless they are told otherwise.
    working_dir: str | None
    user: str | None
    entrypoint: list[str]
    cmd: list[str]
    # Such as `8080/tcp`.
    exposed_ports: list[str]
    labels: dict[str, str]
    # Device nodes that its layers have; a guest has its own.
    devices_left_out: int
    # Extended attributes that could not be kept.
    attributes_left_out: int


class _KeptEnvironmentSometimes(TypedDict, total=False):
    install_manifest: str | None
    # Why an installed environment cannot be used; absent when all is well.
    problem: str | None
    # When an installed one was made: RFC 3339, in UTC.
    created_at: str | None
    # What an installed one takes on disk, files that it shares with others included.
    disk_bytes: int | None
    # Where an installed one came from.
    made_from: str | None
    # What an OCI image says of itself, also where an environment was made of a workspace that began
    # with one; absent for all other environments.
    image: ImageFacts | None


class KeptEnvironment(_KeptEnvironmentSometimes):
    """An environment that was made."""

    name: str
    version: str
    description: str
    default_packages: list[str]
    distribution: str
    distribution_version: str
    platform: str
    # Absent for environments that are built from Debian packages.
    oci_registry: str | None
    oci_repository: str | None
    oci_reference: str | None
    # Of the installed disk: SHA-256 in hex; absent when it is not installed.
    source_digest: str | None
    # The versions of pyro that can use it.
    compatibility: str
    catalog_version: str
    installed: bool
    cache_dir: str
    install_dir: str


class Logged(TypedDict):
    workspace_id: str
    # How many entries are shown here.
    count: int
    # How many commands there are.
    total: int
    # Oldest first.
    entries: list[LoggedEntries]
    # What happened to the workspace itself, oldest first: stops, starts, resets, and why.
    events: list[LoggedEvents]
    # The `skip` that continues with older ones.
    next_skip: int | None
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None


class LoggedEntries(TypedDict):
    """A command that has ended, or runs in the background."""

    # Counts from 1, over all resets: one number is one command of the workspace.
    sequence: int
    command: str
    cwd: str
    # Null while it runs.
    exit_code: int | None
    duration_ms: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # The file's name in the folder `output` of the workspace's state.
    stdout_file: str
    stderr_file: str
    recorded_at: float
    # From `offset` on.
    stdout: str
    stderr: str
    stdout_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    stderr_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    timed_out: bool
    # Whether the guest's kernel killed a process of it because memory ran out.
    oom_killed: bool
    signal: int | None
    # How much the command wrote.
    stdout_bytes: int
    stderr_bytes: int
    # How much of it was kept and can be read here.
    stdout_kept_bytes: int
    stderr_kept_bytes: int
    # Whether there is more after what is shown.
    stdout_truncated: bool
    stderr_truncated: bool
    # The `offset` at which the rest of what was kept can be read.
    next_offset: int | None
    # The same for `stderr_offset`.
    next_stderr_offset: int | None
    # How many resets came before it.
    reset_count: int
    # Whether it is still running.
    running: bool
    # Why it ended, if it neither exited by itself nor timed out.
    ended_because: str | None


class LoggedEvents(TypedDict):
    # Seconds since 1970.
    at: float
    # `created`, `started`, `stopped` or `reset`.
    event: str
    detail: str


class _NetworkInfoSometimes(TypedDict, total=False):
    # Always `user-mode`: the host has no device for it. Absent without a network, as the rest.
    tap_name: str | None
    guest_ip: str | None
    gateway_ip: str | None
    subnet_cidr: str | None
    mac_address: str | None
    # The name server of the guest, which forwards queries to those of the host.
    dns_servers: list[str] | None
    # What it may reach near the host.
    allow_net: list[str] | None


class NetworkInfo(_NetworkInfoSometimes):
    """The network of a VM."""

    vm_id: str
    network_enabled: bool
    outbound_connectivity_expected: bool
    # Why it reaches what it reaches.
    reason: str


class Patched(TypedDict):
    workspace_id: str
    changed: bool
    # The form that the patch was recognised by.
    format: Literal["unified", "begin_patch"]
    summary: PatchedSummary
    # Sorted by path.
    entries: list[PatchedEntries]
    # The patch, as it was given; what is not UTF-8 is replaced.
    patch: str
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Where the patch was not taken exactly: moved hunks, ignored spaces, what was left out.
    notes: list[str]
    # Whether this call had to start the VM first.
    workspace_started: bool


class PatchedEntries(TypedDict):
    # Absolute in the guest.
    path: str
    status: Literal["added", "modified", "deleted"]
    # Where a renamed file was before.
    renamed_from: str | None


class PatchedSummary(TypedDict):
    total: int
    added: int
    modified: int
    deleted: int


class Pruned(TypedDict):
    """What was removed."""

    # Names of the removed entries, sorted.
    deleted_environment_dirs: list[str]
    count: int
    # Disk space that was freed, in bytes.
    freed_bytes: int


class _PulledEnvironmentSometimes(TypedDict, total=False):
    install_manifest: str | None
    # Why an installed environment cannot be used; absent when all is well.
    problem: str | None
    # When an installed one was made: RFC 3339, in UTC.
    created_at: str | None
    # What an installed one takes on disk, files that it shares with others included.
    disk_bytes: int | None
    # Where an installed one came from.
    made_from: str | None
    # What an OCI image says of itself, also where an environment was made of a workspace that began
    # with one; absent for all other environments.
    image: ImageFacts | None


class PulledEnvironment(_PulledEnvironmentSometimes):
    """An environment that is now installed."""

    name: str
    version: str
    description: str
    default_packages: list[str]
    distribution: str
    distribution_version: str
    platform: str
    # Absent for environments that are built from Debian packages.
    oci_registry: str | None
    oci_repository: str | None
    oci_reference: str | None
    # Of the installed disk: SHA-256 in hex; absent when it is not installed.
    source_digest: str | None
    # The versions of pyro that can use it.
    compatibility: str
    catalog_version: str
    installed: bool
    cache_dir: str
    install_dir: str
    kernel_image: str
    rootfs_image: str
    # Where the content came from.
    source: str


class Pushed(TypedDict):
    workspace_id: str
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    workspace_sync: PushedWorkspaceSync
    # Whether this call had to start the VM first.
    workspace_started: bool


class PushedWorkspaceSync(TypedDict):
    # Where the first files of a workspace came from.
    mode: Literal["empty", "directory", "tar_archive"]
    # Absolute, with links resolved.
    source_path: str
    destination: str
    # Files, folders and links of the source.
    entry_count: int
    # Bytes of its regular files.
    bytes_written: int
    # How many of the entries differed and travelled.
    changed_count: int
    changed_bytes: int
    # What of a source was left out.
    left_out: PushedWorkspaceSyncLeftOut
    # What was copied differently than one may expect.
    notes: list[str]


class PushedWorkspaceSyncLeftOut(TypedDict):
    """What of a source was left out."""

    # With all that is in folders.
    entry_count: int
    bytes: int
    # The first of them; one that ends in a slash is a folder with all in it.
    paths: list[str]


class Reaped(TypedDict):
    """The VMs that were deleted."""

    deleted_vm_ids: list[str]
    count: int


class _ResetSometimes(TypedDict, total=False):
    # What the caller should know about what was just done.
    notes: list[str]


class Reset(_ResetSometimes):
    """A workspace."""

    # Twelve lower-case hex digits.
    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    environment_version: str | None
    vcpu_count: int
    mem_mib: int
    # Idle seconds after which the VM is stopped (files are kept); 0 is never.
    ttl_seconds: int
    # Seconds since 1970, as all times here.
    created_at: float
    last_activity_at: float
    # When the VM is stopped if it stays idle; 0 when never. Files are kept.
    expires_at: float
    state: Literal["created", "started", "stopped"]
    network_policy: Literal["off", "egress", "egress+published-ports"]
    network_enabled: bool
    allow_host_compat: bool
    guest_ip: str | None
    tap_name: str | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    workspace_path: str
    workspace_seed: ResetWorkspaceSeed
    secrets: list[ResetSecrets]
    # Commands since the last reset.
    command_count: int
    # The newest command of a workspace.
    last_command: ResetLastCommand | None
    # Those that run in the background.
    running_commands: list[ResetRunningCommands]
    reset_count: int
    last_reset_at: float | None
    service_count: int
    running_service_count: int
    # Facts for people and logs; every value is text.
    metadata: dict[str, str]
    # Seconds until the VM is stopped if it stays idle; absent when that is never or has happened.
    time_left_seconds: int | None
    # Why it is stopped; absent while it runs.
    stopped_because: str | None
    # Whether this call had to start the VM first.
    workspace_started: bool
    workspace_reset: ResetWorkspaceReset


class ResetLastCommand(TypedDict):
    """The newest command of a workspace."""

    sequence: int
    command: str
    cwd: str
    exit_code: int
    duration_ms: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]


class ResetRunningCommands(TypedDict):
    """A command that runs in the background."""

    sequence: int
    command: str
    started_at: float


class ResetSecrets(TypedDict):
    """A secret without its value."""

    name: str
    # `literal` or `file`.
    source_kind: str


class ResetWorkspaceReset(TypedDict):
    snapshot_name: str
    kind: Literal["baseline", "named"]
    destination: str
    entry_count: int
    bytes_written: int


class ResetWorkspaceSeed(TypedDict):
    # Where the first files of a workspace came from.
    mode: Literal["empty", "directory", "tar_archive"]
    # Absolute, with links resolved.
    seed_path: str | None
    destination: str
    # Files, folders and links.
    entry_count: int
    # Bytes of the regular files.
    bytes_written: int
    # What of a source was left out.
    left_out: ResetWorkspaceSeedLeftOut
    # What was copied differently than one may expect.
    notes: list[str]


class ResetWorkspaceSeedLeftOut(TypedDict):
    """What of a source was left out."""

    # With all that is in folders.
    entry_count: int
    bytes: int
    # The first of them; one that ends in a slash is a folder with all in it.
    paths: list[str]


class ServiceLogged(TypedDict):
    """A service as its record shows it."""

    workspace_id: str
    service_name: str
    state: Literal["running", "exited", "stopped", "failed"]
    command: str
    cwd: str
    # Seconds since 1970, as all times here.
    started_at: float
    ended_at: float | None
    # Of its first process; absent while it runs, and when its end was not seen.
    exit_code: int | None
    # Of its first process, in the guest.
    pid: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # What shows that a service can be used. Beside `type` the one field that belongs to it.
    readiness: ServiceLoggedReadiness | None
    # Absent while it is not ready.
    ready_at: float | None
    # What the last readiness check found instead, if it is not ready or never was.
    not_ready: str | None
    stop_reason: Literal["process_exited_before_ready", "readiness_timeout", "published_port_failed", "sigterm", "sigkill", "workspace_stopped"] | None
    # Whether the guest's kernel killed a process of it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # While it runs.
    published_ports: list[ServiceLoggedPublishedPorts]
    stdout: str
    stderr: str
    stdout_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    stderr_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    # Absent with `all`.
    tail_lines: int | None
    # Whether there is, or was, more of either stream.
    truncated: bool
    # The `skip_lines` that reads older lines; absent when none are kept.
    next_skip_lines: int | None


class ServiceLoggedPublishedPorts(TypedDict):
    """A port that is open on this host."""

    # Always 127.0.0.1.
    host: str
    host_port: int
    guest_port: int
    # Always tcp.
    protocol: str


class _ServiceLoggedReadinessSometimes(TypedDict, total=False):
    path: str | None
    address: str | None
    url: str | None
    command: str | None


class ServiceLoggedReadiness(_ServiceLoggedReadinessSometimes):
    """What shows that a service can be used. Beside `type` the one field that belongs to it."""

    type: Literal["file", "tcp", "http", "command"]


class ServiceRecord(TypedDict):
    """A service as its record shows it."""

    workspace_id: str
    service_name: str
    state: Literal["running", "exited", "stopped", "failed"]
    command: str
    cwd: str
    # Seconds since 1970, as all times here.
    started_at: float
    ended_at: float | None
    # Of its first process; absent while it runs, and when its end was not seen.
    exit_code: int | None
    # Of its first process, in the guest.
    pid: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # What shows that a service can be used. Beside `type` the one field that belongs to it.
    readiness: ServiceRecordReadiness | None
    # Absent while it is not ready.
    ready_at: float | None
    # What the last readiness check found instead, if it is not ready or never was.
    not_ready: str | None
    stop_reason: Literal["process_exited_before_ready", "readiness_timeout", "published_port_failed", "sigterm", "sigkill", "workspace_stopped"] | None
    # Whether the guest's kernel killed a process of it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # While it runs.
    published_ports: list[ServiceRecordPublishedPorts]


class ServiceRecordPublishedPorts(TypedDict):
    """A port that is open on this host."""

    # Always 127.0.0.1.
    host: str
    host_port: int
    guest_port: int
    # Always tcp.
    protocol: str


class _ServiceRecordReadinessSometimes(TypedDict, total=False):
    path: str | None
    address: str | None
    url: str | None
    command: str | None


class ServiceRecordReadiness(_ServiceRecordReadinessSometimes):
    """What shows that a service can be used. Beside `type` the one field that belongs to it."""

    type: Literal["file", "tcp", "http", "command"]


class ServiceStarted(TypedDict):
    """A service that was started."""

    workspace_id: str
    service_name: str
    state: Literal["running", "exited", "stopped", "failed"]
    command: str
    cwd: str
    # Seconds since 1970, as all times here.
    started_at: float
    ended_at: float | None
    # Of its first process; absent while it runs, and when its end was not seen.
    exit_code: int | None
    # Of its first process, in the guest.
    pid: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # What shows that a service can be used. Beside `type` the one field that belongs to it.
    readiness: ServiceStartedReadiness | None
    # Absent while it is not ready.
    ready_at: float | None
    # What the last readiness check found instead, if it is not ready or never was.
    not_ready: str | None
    stop_reason: Literal["process_exited_before_ready", "readiness_timeout", "published_port_failed", "sigterm", "sigkill", "workspace_stopped"] | None
    # Whether the guest's kernel killed a process of it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # While it runs.
    published_ports: list[ServiceStartedPublishedPorts]
    # The end of what it wrote, where it failed.
    log_tail: str | None
    # Whether this call had to start the VM first.
    workspace_started: bool


class ServiceStartedPublishedPorts(TypedDict):
    """A port that is open on this host."""

    # Always 127.0.0.1.
    host: str
    host_port: int
    guest_port: int
    # Always tcp.
    protocol: str


class _ServiceStartedReadinessSometimes(TypedDict, total=False):
    path: str | None
    address: str | None
    url: str | None
    command: str | None


class ServiceStartedReadiness(_ServiceStartedReadinessSometimes):
    """What shows that a service can be used. Beside `type` the one field that belongs to it."""

    type: Literal["file", "tcp", "http", "command"]


class ServicesListed(TypedDict):
    workspace_id: str
    # How many are shown here.
    count: int
    # How many there are.
    total: int
    # The `skip` that continues behind them.
    next_skip: int | None
    # How many of them all are running.
    running_count: int
    # By name.
    services: list[ServicesListedServices]


class ServicesListedServices(TypedDict):
    """A service as its record shows it."""

    workspace_id: str
    service_name: str
    state: Literal["running", "exited", "stopped", "failed"]
    command: str
    cwd: str
    # Seconds since 1970, as all times here.
    started_at: float
    ended_at: float | None
    # Of its first process; absent while it runs, and when its end was not seen.
    exit_code: int | None
    # Of its first process, in the guest.
    pid: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # What shows that a service can be used. Beside `type` the one field that belongs to it.
    readiness: ServicesListedServicesReadiness | None
    # Absent while it is not ready.
    ready_at: float | None
    # What the last readiness check found instead, if it is not ready or never was.
    not_ready: str | None
    stop_reason: Literal["process_exited_before_ready", "readiness_timeout", "published_port_failed", "sigterm", "sigkill", "workspace_stopped"] | None
    # Whether the guest's kernel killed a process of it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # While it runs.
    published_ports: list[ServicesListedServicesPublishedPorts]


class ServicesListedServicesPublishedPorts(TypedDict):
    """A port that is open on this host."""

    # Always 127.0.0.1.
    host: str
    host_port: int
    guest_port: int
    # Always tcp.
    protocol: str


class _ServicesListedServicesReadinessSometimes(TypedDict, total=False):
    path: str | None
    address: str | None
    url: str | None
    command: str | None


class ServicesListedServicesReadiness(_ServicesListedServicesReadinessSometimes):
    """What shows that a service can be used. Beside `type` the one field that belongs to it."""

    type: Literal["file", "tcp", "http", "command"]


class ShellClosed(TypedDict):
    """A shell of a workspace."""

    workspace_id: str
    # Twelve lower-case hex digits.
    shell_id: str
    # Where it began.
    cwd: str
    cols: int
    rows: int
    state: Literal["running", "stopped"]
    # Seconds since 1970.
    started_at: float
    ended_at: float | None
    # The shell's exit status; 128 + N after signal N. Absent while it runs.
    exit_code: int | None
    # Whether the guest's kernel killed a process in it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # The signal that ended it, if one did.
    ended_by_signal: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    closed: bool


class ShellOpened(TypedDict):
    """A shell of a workspace."""

    workspace_id: str
    # Twelve lower-case hex digits.
    shell_id: str
    # Where it began.
    cwd: str
    cols: int
    rows: int
    state: Literal["running", "stopped"]
    # Seconds since 1970.
    started_at: float
    ended_at: float | None
    # The shell's exit status; 128 + N after signal N. Absent while it runs.
    exit_code: int | None
    # Whether the guest's kernel killed a process in it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # The signal that ended it, if one did.
    ended_by_signal: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Whether this call had to start the VM first.
    workspace_started: bool


class ShellSignalled(TypedDict):
    """A shell of a workspace."""

    workspace_id: str
    # Twelve lower-case hex digits.
    shell_id: str
    # Where it began.
    cwd: str
    cols: int
    rows: int
    state: Literal["running", "stopped"]
    # Seconds since 1970.
    started_at: float
    ended_at: float | None
    # The shell's exit status; 128 + N after signal N. Absent while it runs.
    exit_code: int | None
    # Whether the guest's kernel killed a process in it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # The signal that ended it, if one did.
    ended_by_signal: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    signal: str


class ShellText(TypedDict):
    """A shell of a workspace."""

    workspace_id: str
    # Twelve lower-case hex digits.
    shell_id: str
    # Where it began.
    cwd: str
    cols: int
    rows: int
    state: Literal["running", "stopped"]
    # Seconds since 1970.
    started_at: float
    ended_at: float | None
    # The shell's exit status; 128 + N after signal N. Absent while it runs.
    exit_code: int | None
    # Whether the guest's kernel killed a process in it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # The signal that ended it, if one did.
    ended_by_signal: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Where the output begins; after the requested cursor when `lost_chars` is not 0.
    cursor: int
    # Where to continue reading.
    next_cursor: int
    output: str
    # Whether there is more after `next_cursor`.
    truncated: bool
    plain: bool
    wait_for_idle_ms: int | None
    # How many characters from the cursor on are gone: only the recent output is kept.
    lost_chars: int


class ShellWritten(TypedDict):
    """A shell of a workspace."""

    workspace_id: str
    # Twelve lower-case hex digits.
    shell_id: str
    # Where it began.
    cwd: str
    cols: int
    rows: int
    state: Literal["running", "stopped"]
    # Seconds since 1970.
    started_at: float
    ended_at: float | None
    # The shell's exit status; 128 + N after signal N. Absent while it runs.
    exit_code: int | None
    # Whether the guest's kernel killed a process in it because memory ran out.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do, where memory ran out.
    advice: str | None
    # The signal that ended it, if one did.
    ended_by_signal: int | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Characters, the newline not counted.
    input_length: int
    append_newline: bool


class SnapshotCreated(TypedDict):
    workspace_id: str
    # A saved state.
    snapshot: SnapshotCreatedSnapshot
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # Whether this call had to start the VM first.
    workspace_started: bool


class SnapshotCreatedSnapshot(TypedDict):
    """A saved state."""

    workspace_id: str
    snapshot_name: str
    kind: Literal["baseline", "named"]
    # Seconds since 1970.
    created_at: float
    # Files, folders and links below `/workspace`.
    entry_count: int
    # Bytes of the regular files among them.
    bytes_written: int
    # False only for the baseline.
    deletable: bool


class SnapshotDeleted(TypedDict):
    workspace_id: str
    snapshot_name: str
    deleted: bool


class Snapshots(TypedDict):
    workspace_id: str
    # How many, with the baseline.
    count: int
    snapshots: list[SnapshotsSnapshots]


class SnapshotsSnapshots(TypedDict):
    """A saved state."""

    workspace_id: str
    snapshot_name: str
    kind: Literal["baseline", "named"]
    # Seconds since 1970.
    created_at: float
    # Files, folders and links below `/workspace`.
    entry_count: int
    # Bytes of the regular files among them.
    bytes_written: int
    # False only for the baseline.
    deletable: bool


class VmDeleted(TypedDict):
    """A VM that is gone."""

    vm_id: str
    deleted: bool
    reason: Literal["explicit_delete", "post_exec_cleanup", "run_vm_error_cleanup"]


class VmRecord(TypedDict):
    """A one-shot VM."""

    # Twelve lower-case hex digits.
    vm_id: str
    environment: str
    environment_version: str | None
    vcpu_count: int
    mem_mib: int
    ttl_seconds: int
    # Seconds since 1970.
    created_at: float
    # When the VM deletes itself, in seconds since 1970.
    expires_at: float
    state: Literal["created", "started", "stopped"]
    network_enabled: bool
    allow_host_compat: bool
    guest_ip: str | None
    tap_name: str | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # `kvm`, `tcg` (emulation), `systrap` (gVisor), or `none` (host process); absent before the first
    # start.
    accelerator: str | None
    # Facts for people and logs; every value is text.
    metadata: dict[str, str]


class WorkspaceDeleted(TypedDict):
    workspace_id: str
    deleted: bool
    reason: Literal["explicit_delete", "post_exec_cleanup", "run_vm_error_cleanup"]


class WorkspaceExecResult(TypedDict):
    workspace_id: str
    environment: str
    environment_version: str | None
    command: str
    # Standard output; head and tail with a mark between them when it was too long to keep.
    stdout: str
    stderr: str
    # The command's exit status; 128 + N after signal N, 124 after a timeout. Null while it runs.
    exit_code: int | None
    # Time from the start of the command to its end, in milliseconds.
    duration_ms: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    # The number of the command, for `workspace_logs`. Counts from 1, over all resets.
    sequence: int
    cwd: str
    # The signal that ended the command, if one did.
    signal: int | None
    # Whether the command was ended because it timed out.
    timed_out: bool
    # Whether the guest ran out of memory and its kernel killed a process of the command.
    oom_killed: bool
    # The memory of the guest, in MiB.
    mem_mib: int
    # What to do about how it ended, if there is something to do.
    advice: str | None
    # How many bytes the command wrote, kept or not.
    stdout_bytes: int
    stderr_bytes: int
    # Whether the middle of the text was left out; `workspace_logs` has it.
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    stderr_encoding: Literal["utf-8", "utf-8-replaced", "base64"]
    # Whether this call had to start the VM first.
    workspace_started: bool
    # Whether the command is still running.
    running: bool
    # Why it ended, if it neither exited by itself nor timed out.
    ended_because: str | None
    # How to continue with a running command.
    next: str | None


class WorkspaceListed(TypedDict):
    # How many are shown here.
    count: int
    # How many there are.
    total: int
    # The `skip` that continues behind them.
    next_skip: int | None
    # Most recently used first.
    workspaces: list[WorkspaceListedWorkspaces]


class WorkspaceListedWorkspaces(TypedDict):
    """A workspace in a list."""

    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    state: Literal["created", "started", "stopped"]
    created_at: float
    last_activity_at: float
    # When the VM is stopped if it stays idle; 0 when never. Files are kept.
    expires_at: float
    time_left_seconds: int | None
    # Why it is stopped; absent while it runs.
    stopped_because: str | None
    command_count: int
    service_count: int
    running_service_count: int


class _WorkspaceRecordSometimes(TypedDict, total=False):
    # What the caller should know about what was just done.
    notes: list[str]


class WorkspaceRecord(_WorkspaceRecordSometimes):
    """A workspace."""

    # Twelve lower-case hex digits.
    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    environment_version: str | None
    vcpu_count: int
    mem_mib: int
    # Idle seconds after which the VM is stopped (files are kept); 0 is never.
    ttl_seconds: int
    # Seconds since 1970, as all times here.
    created_at: float
    last_activity_at: float
    # When the VM is stopped if it stays idle; 0 when never. Files are kept.
    expires_at: float
    state: Literal["created", "started", "stopped"]
    network_policy: Literal["off", "egress", "egress+published-ports"]
    network_enabled: bool
    allow_host_compat: bool
    guest_ip: str | None
    tap_name: str | None
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]
    workspace_path: str
    workspace_seed: WorkspaceRecordWorkspaceSeed
    secrets: list[WorkspaceRecordSecrets]
    # Commands since the last reset.
    command_count: int
    # The newest command of a workspace.
    last_command: WorkspaceRecordLastCommand | None
    # Those that run in the background.
    running_commands: list[WorkspaceRecordRunningCommands]
    reset_count: int
    last_reset_at: float | None
    service_count: int
    running_service_count: int
    # Facts for people and logs; every value is text.
    metadata: dict[str, str]
    # Seconds until the VM is stopped if it stays idle; absent when that is never or has happened.
    time_left_seconds: int | None
    # Why it is stopped; absent while it runs.
    stopped_because: str | None
    # Whether this call had to start the VM first.
    workspace_started: bool


class WorkspaceRecordLastCommand(TypedDict):
    """The newest command of a workspace."""

    sequence: int
    command: str
    cwd: str
    exit_code: int
    duration_ms: int
    execution_mode: Literal["pending", "guest_vsock", "gvisor", "host_compat"]


class WorkspaceRecordRunningCommands(TypedDict):
    """A command that runs in the background."""

    sequence: int
    command: str
    started_at: float


class WorkspaceRecordSecrets(TypedDict):
    """A secret without its value."""

    name: str
    # `literal` or `file`.
    source_kind: str


class WorkspaceRecordWorkspaceSeed(TypedDict):
    # Where the first files of a workspace came from.
    mode: Literal["empty", "directory", "tar_archive"]
    # Absolute, with links resolved.
    seed_path: str | None
    destination: str
    # Files, folders and links.
    entry_count: int
    # Bytes of the regular files.
    bytes_written: int
    # What of a source was left out.
    left_out: WorkspaceRecordWorkspaceSeedLeftOut
    # What was copied differently than one may expect.
    notes: list[str]


class WorkspaceRecordWorkspaceSeedLeftOut(TypedDict):
    """What of a source was left out."""

    # With all that is in folders.
    entry_count: int
    bytes: int
    # The first of them; one that ends in a slash is a folder with all in it.
    paths: list[str]
