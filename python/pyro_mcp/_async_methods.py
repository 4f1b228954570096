# Written by `cargo xtask python` from the declarations in pyro-api. Change those instead.
"""The operations as methods."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any, Callable, Literal

    from . import results
    from ._asynchronous import AsyncWorkspace

    OnOutput = Callable[[Literal["stdout", "stderr"], bytes], object]

from ._readiness import ready_fields


class AsyncMethods:
    """What can be asked of pyro."""

    async def _call(
        self, operation: str, arguments: dict[str, Any], on_output: OnOutput | None = None
    ) -> Any:
        raise NotImplementedError

    async def run_in_vm(
        self,
        *,
        environment: str,
        command: str | None = None,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        timeout_seconds: int = 30,
        ttl_seconds: int = 600,
        network: bool = False,
        allow_host_compat: bool = False,
        allow_net: list[str] | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        isolation: Literal["auto", "vm", "gvisor"] | None = None,
        user: str | None = None,
        on_output: OnOutput | None = None,
    ) -> results.ExecResult:
        """Run one command in a fresh VM and delete the VM afterwards.

        Args:
            environment: The environment to start from, such as `debian:12`.
            command: A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`); by default
                what the image runs.
            vcpu_count: Virtual CPUs, 1 to 8.
            mem_mib: Memory in MiB, 256 to 32768.
            timeout_seconds: Seconds until the command and everything it started are ended.
            ttl_seconds: Seconds until the VM deletes itself whatever happens, 60 to 3600; never
                before the timeout.
            network: Let the guest reach the internet, but not this host or the networks near
                it.
            allow_host_compat: If no VM can run, run the command on this host, without
                isolation.
            allow_net: Also allow these addresses, CIDR blocks or host names near this host,
                optionally with a port, such as `10.1.0.0/16` or `db.corp:5432`.
            env: Environment variables for the command, by name.
            cwd: The folder to run in; below `/workspace` if relative.
            isolation: What keeps the command apart from this host; as PYRO_ISOLATION says if
                not given, or `auto`.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
            on_output: Called with `"stdout"` or `"stderr"` and bytes, as the command prints
                them.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "command": command,
            "vcpu_count": vcpu_count,
            "mem_mib": mem_mib,
            "timeout_seconds": timeout_seconds,
            "ttl_seconds": ttl_seconds,
            "network": network,
            "allow_host_compat": allow_host_compat,
            "allow_net": allow_net,
            "env": env,
            "cwd": cwd,
            "isolation": isolation,
            "user": user,
        }
        result: results.ExecResult = await self._call("vm_run", arguments, on_output)
        return result

    async def list_environments(self) -> list[results.Environment]:
        """List the environments that VMs can start from."""
        arguments: dict[str, Any] = {}
        result: list[results.Environment] = await self._call("vm_list_environments", arguments)
        return result

    async def pull_environment(
        self,
        environment: str,
    ) -> results.PulledEnvironment:
        """Install an environment, or verify and repair an installed one.

        Args:
            environment: The environment, such as `debian:12`.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
        }
        result: results.PulledEnvironment = await self._call("env_pull", arguments)
        return result

    async def inspect_environment(
        self,
        environment: str,
    ) -> results.Environment:
        """Show one environment and, if it is installed, verify the digest of its image.

        Args:
            environment: The environment, such as `debian:12`.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
        }
        result: results.Environment = await self._call("env_inspect", arguments)
        return result

    async def create_environment(
        self,
        *,
        environment: str,
        workspace_id: str,
        snapshot: str | None = None,
        replace: bool = False,
    ) -> results.KeptEnvironment:
        """Keep the disk of a workspace as an environment that others start from.

        It holds the whole disk: installed packages, and what is in `/workspace`. Nothing is
        copied, the workspace goes on, and what is written to it later is not part of it.
        Processes, secrets and shells never are. Start from it by its name.

        Args:
            environment: A new name, such as `app`, `team/app` or `app:1.0`.
            workspace_id: Workspace id or name.
            snapshot: Keep this snapshot (or `baseline`), and not the present state.
            replace: Take the place of an environment that was kept under this name.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "workspace_id": workspace_id,
            "snapshot": snapshot,
            "replace": replace,
        }
        result: results.KeptEnvironment = await self._call("env_create", arguments)
        return result

    async def delete_environment(
        self,
        environment: str,
    ) -> results.DeletedEnvironment:
        """Remove an environment from this host.

        Workspaces that were made from it go on: they have names of their own for the files that
        they stand on, and that space is free when they are deleted.

        Args:
            environment: The environment, such as `app` or `oci-archive:app.tar`.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
        }
        result: results.DeletedEnvironment = await self._call("env_delete", arguments)
        return result

    async def export_environment(
        self,
        output_path: str | os.PathLike[str],
        *,
        environment: str,
        overwrite: bool = False,
    ) -> results.ExportedEnvironment:
        """Write an environment to a file that Docker, Podman and pyro can load.

        An OCI archive with one layer: all files with their owners, rights, attributes and
        links, and what the image says of its programs. Load it with `docker load`, `podman
        load`, `skopeo copy oci-archive:FILE`, or `pyro env import`.

        Args:
            environment: The environment, such as `app` or `debian:12`.
            output_path: The file to write on this host.
            overwrite: Replace a file that is there.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "output_path": output_path,
            "overwrite": overwrite,
        }
        result: results.ExportedEnvironment = await self._call("env_export", arguments)
        return result

    async def import_environment(
        self,
        source: str,
        *,
        environment: str,
        replace: bool = False,
    ) -> results.KeptEnvironment:
        """Keep an image of a file under a name of your own.

        The file is not needed any more afterwards.

        Args:
            environment: A new name, such as `app`, `team/app` or `app:1.0`.
            source: A file of `pyro env export`, `docker save`, `podman save` or `skopeo`, the
                folder of an OCI layout, or an image that is named as elsewhere:
                `docker-archive:FILE:NAME`.
            replace: Take the place of an environment that was kept under this name.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "source": source,
            "replace": replace,
        }
        result: results.KeptEnvironment = await self._call("env_import", arguments)
        return result

    async def prune_environments(self) -> results.Pruned:
        """Remove what the cache no longer needs: other versions, damaged and incomplete images."""
        arguments: dict[str, Any] = {}
        result: results.Pruned = await self._call("env_prune", arguments)
        return result

    async def build_environment(
        self,
        context: str,
        *,
        environment: str,
        file: str | None = None,
        build_args: dict[str, str] | None = None,
        build_secrets: list[str] | None = None,
        target: str | None = None,
        network_policy: Literal["off", "egress", "egress+published-ports"] = "off",
        allow_net: list[str] | None = None,
        no_cache: bool = False,
        keep_failed: bool = False,
        replace: bool = False,
        timeout_seconds: int = 3600,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        isolation: Literal["auto", "vm", "gvisor"] | None = None,
    ) -> results.BuiltEnvironment:
        """Build an environment from a Containerfile (Dockerfile) or a devcontainer.json.

        Each step runs in a VM and is kept: a step that was done before, with the same files, is
        not done again. Steps have no network unless you allow one. Start from the result by its
        name: `workspace_create`, `vm_run`.

        Args:
            environment: The name of the environment, such as `app`, `team/app` or `app:1.0`.
            context: The folder of this host that `COPY` and `ADD` take files from.
            file: The Containerfile, Dockerfile or devcontainer.json; else one of these in the
                context.
            build_args: Values for the `ARG` of the Containerfile.
            build_secrets: A secret for `RUN --mount=type=secret`: `id=ID,src=PATH` or
                `id=ID,env=VARIABLE`; may be repeated. It leaves no trace in what is built.
            target: Build this stage, and not the last one.
            network_policy: What the steps may reach.
            allow_net: Also allow these addresses, CIDR blocks or host names near this host,
                optionally with a port, such as `10.1.0.0/16` or `db.corp:5432`.
            no_cache: Do every step again.
            keep_failed: Leave a workspace as it was when a step failed, to look into.
            replace: Take the place of an environment of this name that was not built.
            timeout_seconds: How long each step may take, in seconds.
            vcpu_count: Virtual CPUs, 1 to 8.
            mem_mib: Memory in MiB, 256 to 32768.
            isolation: What keeps the steps apart from this host; as PYRO_ISOLATION says if not
                given, or `auto`.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "context": context,
            "file": file,
            "build_args": build_args,
            "build_secrets": build_secrets,
            "target": target,
            "network_policy": network_policy,
            "allow_net": allow_net,
            "no_cache": no_cache,
            "keep_failed": keep_failed,
            "replace": replace,
            "timeout_seconds": timeout_seconds,
            "vcpu_count": vcpu_count,
            "mem_mib": mem_mib,
            "isolation": isolation,
        }
        result: results.BuiltEnvironment = await self._call("env_build", arguments)
        return result

    async def create_vm(
        self,
        *,
        environment: str,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int = 600,
        network: bool = False,
        allow_host_compat: bool = False,
        allow_net: list[str] | None = None,
        isolation: Literal["auto", "vm", "gvisor"] | None = None,
    ) -> results.VmRecord:
        """Create a one-shot VM without starting it.

        Args:
            environment: The environment to start from, such as `debian:12`.
            vcpu_count: Virtual CPUs, 1 to 8.
            mem_mib: Memory in MiB, 256 to 32768.
            ttl_seconds: Seconds until the VM deletes itself, 60 to 3600.
            network: Let the guest reach the internet, but not this host or the networks near
                it.
            allow_host_compat: If no VM can run, run commands on this host, without isolation.
            allow_net: Also allow these addresses, CIDR blocks or host names near this host,
                optionally with a port, such as `10.1.0.0/16` or `db.corp:5432`.
            isolation: What keeps its commands apart from this host; as PYRO_ISOLATION says if
                not given, or `auto`.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "vcpu_count": vcpu_count,
            "mem_mib": mem_mib,
            "ttl_seconds": ttl_seconds,
            "network": network,
            "allow_host_compat": allow_host_compat,
            "allow_net": allow_net,
            "isolation": isolation,
        }
        result: results.VmRecord = await self._call("vm_create", arguments)
        return result

    async def start_vm(
        self,
        vm_id: str,
    ) -> results.VmRecord:
        """Start a VM and wait until it is ready.

        Args:
            vm_id: VM id, as returned by `vm_create`.
        """
        arguments: dict[str, Any] = {
            "vm_id": vm_id,
        }
        result: results.VmRecord = await self._call("vm_start", arguments)
        return result

    async def exec_vm(
        self,
        vm_id: str,
        *,
        command: str,
        timeout_seconds: int = 30,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        on_output: OnOutput | None = None,
    ) -> results.ExecResult:
        """Run one command in a started VM and delete the VM afterwards.

        Args:
            vm_id: VM id, as returned by `vm_create`.
            command: A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`).
            timeout_seconds: Seconds until the command and everything it started are ended.
            env: Environment variables for the command, by name.
            cwd: The folder to run in; below `/workspace` if relative.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
            on_output: Called with `"stdout"` or `"stderr"` and bytes, as the command prints
                them.
        """
        arguments: dict[str, Any] = {
            "vm_id": vm_id,
            "command": command,
            "timeout_seconds": timeout_seconds,
            "env": env,
            "cwd": cwd,
            "user": user,
        }
        result: results.ExecResult = await self._call("vm_exec", arguments, on_output)
        return result

    async def stop_vm(
        self,
        vm_id: str,
    ) -> results.VmRecord:
        """Stop a VM; its disk is kept until the VM is deleted.

        Args:
            vm_id: VM id, as returned by `vm_create`.
        """
        arguments: dict[str, Any] = {
            "vm_id": vm_id,
        }
        result: results.VmRecord = await self._call("vm_stop", arguments)
        return result

    async def delete_vm(
        self,
        vm_id: str,
    ) -> results.VmDeleted:
        """Delete a VM, running or not.

        Args:
            vm_id: VM id, as returned by `vm_create`.
        """
        arguments: dict[str, Any] = {
            "vm_id": vm_id,
        }
        result: results.VmDeleted = await self._call("vm_delete", arguments)
        return result

    async def status_vm(
        self,
        vm_id: str,
    ) -> results.VmRecord:
        """Show the state of a VM, its size and when it expires.

        Args:
            vm_id: VM id, as returned by `vm_create`.
        """
        arguments: dict[str, Any] = {
            "vm_id": vm_id,
        }
        result: results.VmRecord = await self._call("vm_status", arguments)
        return result

    async def network_info_vm(
        self,
        vm_id: str,
    ) -> results.NetworkInfo:
        """Show whether a VM has a network and what it can reach.

        Args:
            vm_id: VM id, as returned by `vm_create`.
        """
        arguments: dict[str, Any] = {
            "vm_id": vm_id,
        }
        result: results.NetworkInfo = await self._call("vm_network_info", arguments)
        return result

    async def reap_expired(self) -> results.Reaped:
        """Delete every one-shot VM that has expired."""
        arguments: dict[str, Any] = {}
        result: results.Reaped = await self._call("vm_reap_expired", arguments)
        return result

    async def create_workspace(
        self,
        *,
        environment: str,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int = 600,
        network_policy: Literal["off", "egress", "egress+published-ports"] = "off",
        allow_host_compat: bool = False,
        seed_path: str | os.PathLike[str] | None = None,
        exclude: list[str] | None = None,
        gitignore: bool = False,
        secrets: list[dict[str, Any]] | None = None,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        allow_net: list[str] | None = None,
        isolation: Literal["auto", "vm", "gvisor"] | None = None,
    ) -> results.WorkspaceRecord:
        """Create a workspace: a Linux VM whose files in `/workspace` last until it is deleted.

        For work that takes more than one command. Seed it from a project folder or archive of
        this host; the host's files are copied, never changed. `workspace_diff` later compares
        with this first state and `workspace_reset` returns to it.

        Args:
            environment: The environment to start from, such as `debian:12`.
            vcpu_count: Virtual CPUs, 1 to 8.
            mem_mib: Memory in MiB, 256 to 32768.
            ttl_seconds: Idle seconds until the VM is stopped, 60 to 2592000, 0 for never; files
                are kept.
            network_policy: What the guest may reach.
            allow_host_compat: If no VM can run, run commands on this host, without isolation.
            seed_path: A folder or .tar, .tar.gz, .tgz or .tar.zst file of this host to start
                from.
            exclude: What to leave out, as in `.gitignore`; also from pushes.
            gitignore: Leave out what git ignores.
            secrets: Secrets for its commands, at most 64 KiB of text each. They are kept off
                the disk and redacted from output; `secret_env` passes one to a command.
            name: A name for the workspace.
            labels: Labels, as key and value.
            allow_net: Also allow these addresses, CIDR blocks or host names near this host,
                optionally with a port, such as `10.1.0.0/16` or `db.corp:5432`.
            isolation: What keeps its commands apart from this host; as PYRO_ISOLATION says if
                not given, or `auto`.
        """
        arguments: dict[str, Any] = {
            "environment": environment,
            "vcpu_count": vcpu_count,
            "mem_mib": mem_mib,
            "ttl_seconds": ttl_seconds,
            "network_policy": network_policy,
            "allow_host_compat": allow_host_compat,
            "seed_path": seed_path,
            "exclude": exclude,
            "gitignore": gitignore,
            "secrets": secrets,
            "name": name,
            "labels": labels,
            "allow_net": allow_net,
            "isolation": isolation,
        }
        result: results.WorkspaceRecord = await self._call("workspace_create", arguments)
        return result

    async def list_workspaces(
        self,
        *,
        skip: int = 0,
    ) -> results.WorkspaceListed:
        """List the workspaces, most recently used first.

        Args:
            skip: How many workspaces to skip; MCP returns at most 32 KiB of them.
        """
        arguments: dict[str, Any] = {
            "skip": skip,
        }
        result: results.WorkspaceListed = await self._call("workspace_list", arguments)
        return result

    async def update_workspace(
        self,
        workspace_id: str,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: dict[str, str] | None = None,
        clear_labels: list[str] | None = None,
    ) -> results.WorkspaceRecord:
        """Change the name and the labels of a workspace.

        Args:
            workspace_id: Workspace id or name.
            name: The new name.
            clear_name: Remove the name.
            labels: Labels to set, as key and value; others are kept.
            clear_labels: Keys of labels to remove.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "name": name,
            "clear_name": clear_name,
            "labels": labels,
            "clear_labels": clear_labels,
        }
        result: results.WorkspaceRecord = await self._call("workspace_update", arguments)
        return result

    async def exec_workspace(
        self,
        workspace_id: str,
        *,
        command: str | None = None,
        timeout_seconds: int = 30,
        secret_env: dict[str, str] | None = None,
        wait_seconds: int | None = None,
        background: bool = False,
        stdin: str | None = None,
        stop: int | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        on_output: OnOutput | None = None,
    ) -> results.WorkspaceExecResult:
        """Run a command in a workspace, in `/workspace`.

        Each command has its own shell: `cd` and variables do not carry over, files do. Long
        output is cut in the middle; `workspace_logs` has all of it.

        For long work raise `timeout_seconds` and give `wait_seconds`: after an answer with
        `running: true` the command keeps running, and `workspace_logs` follows it.

        Args:
            workspace_id: Workspace id or name.
            command: A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`).
            timeout_seconds: Seconds until the command and all it started are ended; its output
                so far is returned.
            secret_env: Secrets of the workspace to pass to the command: from secret name to
                variable name.
            wait_seconds: Return after this many seconds at the latest; the command keeps
                running.
            background: Return at once; the command keeps running.
            stdin: Text for standard input.
            stop: End the running command with this `sequence`; takes no command.
            env: Environment variables, by name.
            cwd: The folder to run in; below `/workspace` if relative.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
            on_output: Called with `"stdout"` or `"stderr"` and bytes, as the command prints
                them.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "command": command,
            "timeout_seconds": timeout_seconds,
            "secret_env": secret_env,
            "wait_seconds": wait_seconds,
            "background": background,
            "stdin": stdin,
            "stop": stop,
            "env": env,
            "cwd": cwd,
            "user": user,
        }
        result: results.WorkspaceExecResult = await self._call("workspace_exec", arguments, on_output)
        return result

    async def push_workspace_sync(
        self,
        workspace_id: str,
        source_path: str | os.PathLike[str],
        *,
        dest: str = "/workspace",
        exclude: list[str] | None = None,
        gitignore: bool | None = None,
    ) -> results.Pushed:
        """Copy a folder or archive of this host into a workspace.

        Replaces existing files, deletes nothing, and is applied completely or not at all. Only
        what differs is transferred.

        Args:
            workspace_id: Workspace id or name.
            source_path: A folder or archive of this host, as for a seed.
            dest: A folder below `/workspace`, created if missing.
            exclude: More patterns to leave out, as in `.gitignore`; `!PATTERN` includes again.
                Later pushes remember them.
            gitignore: Whether to leave out what git ignores in the source; by default as last
                time.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "source_path": source_path,
            "dest": dest,
            "exclude": exclude,
            "gitignore": gitignore,
        }
        result: results.Pushed = await self._call("workspace_sync_push", arguments)
        return result

    async def status_workspace(
        self,
        workspace_id: str,
    ) -> results.WorkspaceRecord:
        """Show the state of a workspace: whether it runs, why it stopped, its last command.

        Args:
            workspace_id: Workspace id or name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
        }
        result: results.WorkspaceRecord = await self._call("workspace_status", arguments)
        return result

    async def stop_workspace(
        self,
        workspace_id: str,
    ) -> results.WorkspaceRecord:
        """Stop a workspace: processes and memory are lost, files are kept.

        Args:
            workspace_id: Workspace id or name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
        }
        result: results.WorkspaceRecord = await self._call("workspace_stop", arguments)
        return result

    async def start_workspace(
        self,
        workspace_id: str,
    ) -> results.WorkspaceRecord:
        """Start a stopped workspace.

        Rarely needed: every use of its files or commands starts it.

        Args:
            workspace_id: Workspace id or name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
        }
        result: results.WorkspaceRecord = await self._call("workspace_start", arguments)
        return result

    async def logs_workspace(
        self,
        workspace_id: str,
        *,
        sequence: int | None = None,
        last: int | None = None,
        skip: int = 0,
        offset: int = 0,
        max_bytes: int | None = None,
        stderr_offset: int | None = None,
        wait_seconds: int | None = None,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.Logged:
        """Show the commands that ran in a workspace, with their output.

        Without `sequence`: the newest, each with the beginning of its output. With it: one
        command, from `offset` on, to read long output in pieces or follow a running command.

        Args:
            workspace_id: Workspace id or name.
            sequence: Only this command.
            last: How many of the newest to show.
            skip: How many of the newest to skip, events included; MCP returns 32 KiB.
            offset: Where to start, in bytes.
            max_bytes: Bytes of each stream to show; 65536 with `sequence` (over MCP 24576),
                else 4096.
            stderr_offset: The same for stderr; by default `offset`.
            wait_seconds: Seconds to wait for more output or the end.
            encoding: Output as text, or as bytes in base64.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "sequence": sequence,
            "last": last,
            "skip": skip,
            "offset": offset,
            "max_bytes": max_bytes,
            "stderr_offset": stderr_offset,
            "wait_seconds": wait_seconds,
            "encoding": encoding,
        }
        result: results.Logged = await self._call("workspace_logs", arguments)
        return result

    async def export_workspace(
        self,
        workspace_id: str,
        path: str,
        *,
        output_path: str | os.PathLike[str],
        overwrite: bool = False,
    ) -> results.Exported:
        """Copy a file or folder of a workspace to this host.

        Writes nothing outside `output_path`, and follows no link of the guest.

        Args:
            workspace_id: Workspace id or name.
            path: What to copy: a path below `/workspace`.
            output_path: Where to write on this host: a new path, or for a file an existing
                folder.
            overwrite: Replace a file with a file, a folder with a folder.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "path": path,
            "output_path": output_path,
            "overwrite": overwrite,
        }
        result: results.Exported = await self._call("workspace_export", arguments)
        return result

    async def diff_workspace(
        self,
        workspace_id: str,
        *,
        max_bytes: int | None = None,
        skip: int = 0,
        binary: bool = False,
        prefix: str | None = None,
        commits: str | None = None,
    ) -> results.Differences:
        """Show what changed in `/workspace` since the workspace was created.

        Names every file that changed, with a unified diff where both sides are text, and counts
        new commits. The diff applies with `git apply`, `patch -p1` and `workspace_patch_apply`.

        Args:
            workspace_id: Workspace id or name.
            max_bytes: How many bytes of diffs to show; by default 67108864, over MCP 24576 and
                32 KiB of entries.
            skip: How many changed files (or commits) to skip.
            binary: Include binary files, as git binary patches.
            prefix: Prefix of each name in the diff; by default the seed's folder in its
                repository, over MCP none.
            commits: Show this folder's new commits instead, for `git am --keep-cr
                --keep-non-patch --patch-format=mboxrd`.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "max_bytes": max_bytes,
            "skip": skip,
            "binary": binary,
            "prefix": prefix,
            "commits": commits,
        }
        result: results.Differences = await self._call("workspace_diff", arguments)
        return result

    async def list_workspace_files(
        self,
        workspace_id: str,
        *,
        path: str = "/workspace",
        recursive: bool = False,
        max_entries: int | None = None,
        skip: int = 0,
    ) -> results.FileListing:
        """List files of a workspace.

        Args:
            workspace_id: Workspace id or name.
            path: A path below `/workspace`; a file or link lists itself.
            recursive: Also list subfolders.
            max_entries: How many entries to show; by default all, over MCP 32 KiB.
            skip: How many entries to skip.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "path": path,
            "recursive": recursive,
            "max_entries": max_entries,
            "skip": skip,
        }
        result: results.FileListing = await self._call("workspace_file_list", arguments)
        return result

    async def read_workspace_file(
        self,
        workspace_id: str,
        path: str,
        *,
        max_bytes: int = 65536,
        offset: int = 0,
        start_line: int | None = None,
        line_count: int | None = None,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.FileContent:
        """Read a file of a workspace.

        Read long files in pieces: by bytes with `offset` and `max_bytes`, or by lines with
        `start_line` and `line_count`. Binary files are not shown as text; `encoding` shows them
        in base64.

        Args:
            workspace_id: Workspace id or name.
            path: A path below `/workspace`.
            max_bytes: How much to read, in bytes, 1 to 1048576.
            offset: Where to start, in bytes.
            start_line: The first line to read, counted from 1; instead of `offset`.
            line_count: How many lines to read.
            encoding: `content` as text, or in base64 for a binary file.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "path": path,
            "max_bytes": max_bytes,
            "offset": offset,
            "start_line": start_line,
            "line_count": line_count,
            "encoding": encoding,
        }
        result: results.FileContent = await self._call("workspace_file_read", arguments)
        return result

    async def write_workspace_file(
        self,
        workspace_id: str,
        path: str,
        *,
        text: str | bytes,
        encoding: Literal["utf-8", "base64"] = "utf-8",
        user: str | None = None,
    ) -> results.FileWritten:
        """Write a whole file in a workspace.

        Creates missing folders. An existing file keeps its permissions, owner and hard links.
        To change part of a file use `workspace_patch_apply`.

        Args:
            workspace_id: Workspace id or name.
            path: A path below `/workspace`; a link is followed if it stays inside.
            text: The new content, at most 1048576 bytes.
            encoding: Whether `text` is the content itself, or base64 for a binary file.
            user: Whose a new file is: NAME or UID, or either with `:GROUP`; the image's user's
                or root's if not given.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "path": path,
            "text": text,
            "encoding": encoding,
            "user": user,
        }
        result: results.FileWritten = await self._call("workspace_file_write", arguments)
        return result

    async def apply_workspace_patch(
        self,
        workspace_id: str,
        *,
        patch: str,
    ) -> results.Patched:
        """Apply a patch to the files of a workspace, all of it or nothing.

        Takes unified diffs (plain or git's: new, deleted, renamed and binary files, modes) and
        the `*** Begin Patch` … `*** End Patch` format. Paths are relative to `/workspace`. If a
        hunk does not apply, the error shows the most similar text of the file.

        Args:
            workspace_id: Workspace id or name.
            patch: The patch, at most 1048576 bytes.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "patch": patch,
        }
        result: results.Patched = await self._call("workspace_patch_apply", arguments)
        return result

    async def export_workspace_disk(
        self,
        workspace_id: str,
        *,
        output_path: str | os.PathLike[str],
    ) -> results.DiskExported:
        """Copy the whole disk of a stopped workspace to one ext4 image on this host.

        The image is sparse and self-contained: it can be mounted, or read with other tools. To
        copy files use `workspace_export`.

        Args:
            workspace_id: Workspace id or name.
            output_path: Where to write on this host; the path must not exist yet.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "output_path": output_path,
        }
        result: results.DiskExported = await self._call("workspace_disk_export", arguments)
        return result

    async def list_workspace_disk(
        self,
        workspace_id: str,
        *,
        path: str = "/workspace",
        recursive: bool = False,
        max_entries: int | None = None,
        skip: int = 0,
    ) -> results.DiskListing:
        """List files on the disk of a stopped workspace, without starting it.

        Any path of the guest, not only `/workspace`. For a running workspace use
        `workspace_file_list`, or stop it first.

        Args:
            workspace_id: Workspace id or name.
            path: A path in the guest; below `/workspace` if relative. A file or link lists
                itself.
            recursive: Also list subfolders.
            max_entries: How many entries to show; by default all, over MCP 32 KiB.
            skip: How many entries to skip.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "path": path,
            "recursive": recursive,
            "max_entries": max_entries,
            "skip": skip,
        }
        result: results.DiskListing = await self._call("workspace_disk_list", arguments)
        return result

    async def read_workspace_disk(
        self,
        workspace_id: str,
        path: str,
        *,
        max_bytes: int = 65536,
        offset: int = 0,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.DiskContent:
        """Read a file on the disk of a stopped workspace, without starting it.

        Any regular file of the guest; links are followed inside the disk only. For a running
        workspace use `workspace_file_read`, or stop it first.

        Args:
            workspace_id: Workspace id or name.
            path: A path in the guest; below `/workspace` if relative.
            max_bytes: How much to read, in bytes; one call reads at most 64 MiB.
            offset: Where to start, in bytes.
            encoding: `content` as text, or in base64 for a binary file.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "path": path,
            "max_bytes": max_bytes,
            "offset": offset,
            "encoding": encoding,
        }
        result: results.DiskContent = await self._call("workspace_disk_read", arguments)
        return result

    async def create_snapshot(
        self,
        workspace_id: str,
        snapshot_name: str,
    ) -> results.SnapshotCreated:
        """Save the current state of a workspace under a name.

        Take one before something risky: `workspace_reset` goes back to it. It holds the whole
        disk, including installed packages, and takes milliseconds whatever the size. Running
        processes keep running and are not part of it.

        Args:
            workspace_id: Workspace id or name.
            snapshot_name: A new name: letters, digits, `.`, `_`, `-`; not `baseline`.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "snapshot_name": snapshot_name,
        }
        result: results.SnapshotCreated = await self._call("snapshot_create", arguments)
        return result

    async def list_snapshots(
        self,
        workspace_id: str,
    ) -> results.Snapshots:
        """List the saved states of a workspace.

        `baseline`, the first state, comes first; then the newest.

        Args:
            workspace_id: Workspace id or name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
        }
        result: results.Snapshots = await self._call("snapshot_list", arguments)
        return result

    async def delete_snapshot(
        self,
        workspace_id: str,
        snapshot_name: str,
    ) -> results.SnapshotDeleted:
        """Delete a saved state of a workspace.

        The files of the workspace and its other snapshots stay as they are. The space that only
        this snapshot needed is freed.

        Args:
            workspace_id: Workspace id or name.
            snapshot_name: Any snapshot except `baseline`.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "snapshot_name": snapshot_name,
        }
        result: results.SnapshotDeleted = await self._call("snapshot_delete", arguments)
        return result

    async def reset_workspace(
        self,
        workspace_id: str,
        *,
        snapshot: str = "baseline",
    ) -> results.Reset:
        """Reset a workspace to its first state or to a snapshot.

        Restores the whole disk in a fresh VM: running processes end and later changes are lost.
        Id, name, labels, snapshots and command history are kept.

        Args:
            workspace_id: Workspace id or name.
            snapshot: `baseline`, or the name of a snapshot.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "snapshot": snapshot,
        }
        result: results.Reset = await self._call("workspace_reset", arguments)
        return result

    async def open_shell(
        self,
        workspace_id: str,
        *,
        cwd: str = "/workspace",
        cols: int = 120,
        rows: int = 30,
        secret_env: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> results.ShellOpened:
        """Open an interactive shell in a workspace.

        For what needs a terminal, or state that lasts between calls: a debugger, an interactive
        prompt, the current folder, variables. For everything else `workspace_exec` is simpler.
        The shell lives until it is closed, or until the workspace is stopped or reset.

        Args:
            workspace_id: Workspace id or name.
            cwd: The folder to start in, below `/workspace`.
            cols: Width of the terminal, in columns.
            rows: Height of the terminal, in rows.
            secret_env: Secrets of the workspace to pass to the shell: from secret name to
                variable name.
            env: Environment variables for the shell, by name.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "cwd": cwd,
            "cols": cols,
            "rows": rows,
            "secret_env": secret_env,
            "env": env,
            "user": user,
        }
        result: results.ShellOpened = await self._call("shell_open", arguments)
        return result

    async def read_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        cursor: int = 0,
        max_chars: int = 65536,
        plain: bool = False,
        wait_for_idle_ms: int | None = None,
    ) -> results.ShellText:
        """Read the output of a shell from a cursor on.

        Start with cursor 0 and continue with the `next_cursor` of the answer. `plain` gives the
        text that a person would see: no colours, progress bars in their last state, and the
        screen of a full-screen program. `wait_for_idle_ms` waits until the shell has been
        silent for that long: use it to see everything that a command prints.

        Args:
            workspace_id: Workspace id or name.
            shell_id: Shell id, or a prefix of it.
            cursor: The first character to read, counted from 0.
            max_chars: How many characters to read, as the shell wrote them.
            plain: Show what a person would see instead of the raw terminal output.
            wait_for_idle_ms: Wait until nothing has been written for this many milliseconds, 1
                to 10000, but never longer than 30 seconds.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "shell_id": shell_id,
            "cursor": cursor,
            "max_chars": max_chars,
            "plain": plain,
            "wait_for_idle_ms": wait_for_idle_ms,
        }
        result: results.ShellText = await self._call("shell_read", arguments)
        return result

    async def write_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        input: str,
        append_newline: bool = True,
    ) -> results.ShellWritten:
        """Type text into a shell.

        A newline is added by default, as if Enter was pressed. Send keys as control characters:
        in JSON `\\u0003` for Ctrl-C, `\\u0004` for Ctrl-D, `\\u001b[A` for arrow up (on a
        command line `$'\\x03'` and so on). Read the shell afterwards to see the effect.

        Args:
            workspace_id: Workspace id or name.
            shell_id: Shell id, or a prefix of it.
            input: What to type.
            append_newline: Whether to add a newline.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "shell_id": shell_id,
            "input": input,
            "append_newline": append_newline,
        }
        result: results.ShellWritten = await self._call("shell_write", arguments)
        return result

    async def signal_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        signal_name: str = "INT",
    ) -> results.ShellSignalled:
        """Send a signal to what runs in the foreground of a shell.

        INT interrupts it as Ctrl-C does, KILL always ends it; the shell itself keeps running.
        If nothing runs in the foreground, the shell gets the signal. HUP reaches both.

        Args:
            workspace_id: Workspace id or name.
            shell_id: Shell id, or a prefix of it.
            signal_name: HUP, INT, TERM or KILL.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "shell_id": shell_id,
            "signal_name": signal_name,
        }
        result: results.ShellSignalled = await self._call("shell_signal", arguments)
        return result

    async def close_shell(
        self,
        workspace_id: str,
        shell_id: str,
    ) -> results.ShellClosed:
        """Close a shell, and end what runs in it.

        It gets SIGHUP, and is killed after five seconds. Its output can no longer be read. Only
        what a command deliberately left running in the background keeps running.

        Args:
            workspace_id: Workspace id or name.
            shell_id: Shell id, or a prefix of it.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "shell_id": shell_id,
        }
        result: results.ShellClosed = await self._call("shell_close", arguments)
        return result

    async def start_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        command: str,
        cwd: str = "/workspace",
        readiness: dict[str, Any] | None = None,
        ready_timeout_seconds: int = 30,
        ready_interval_ms: int = 500,
        secret_env: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        published_ports: list[dict[str, Any]] | None = None,
        user: str | None = None,
    ) -> results.ServiceStarted:
        """Start a service in a workspace: a command that keeps running, such as a web server.

        Use it instead of `command &`. Returns when the service is ready, or at once with the
        end of its log if it dies before that. It runs until `service_stop`, until it exits, or
        until the VM is stopped; a name can be reused once its service has ended.

        Args:
            workspace_id: Workspace id or name.
            service_name: A name for the service: letters, digits, `.`, `_` and `-`.
            command: A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`).
            cwd: The folder to run in, below `/workspace`.
            readiness: How it shows that it is ready: `type` is `file`, `tcp`, `http` or
                `command`, and beside it stands `path`, `address`, `url` or `command`.
            ready_timeout_seconds: Seconds that the service has to become ready before it is
                ended.
            ready_interval_ms: Milliseconds between two readiness checks, at most.
            secret_env: Secrets of the workspace to pass to the service: from secret name to
                variable name.
            env: Environment variables for the service, by name.
            published_ports: Guest ports to publish on 127.0.0.1 of this host while the service
                runs; without `host_port` on any free port. Needs the network policy
                `egress+published-ports`.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "service_name": service_name,
            "command": command,
            "cwd": cwd,
            "ready_timeout_seconds": ready_timeout_seconds,
            "ready_interval_ms": ready_interval_ms,
            "secret_env": secret_env,
            "env": env,
            "published_ports": published_ports,
            "user": user,
            **ready_fields(readiness),
        }
        result: results.ServiceStarted = await self._call("service_start", arguments)
        return result

    async def list_services(
        self,
        workspace_id: str,
        *,
        skip: int = 0,
    ) -> results.ServicesListed:
        """List the services of a workspace, running or ended.

        Args:
            workspace_id: Workspace id or name.
            skip: How many services to skip; MCP returns at most 32 KiB of them.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "skip": skip,
        }
        result: results.ServicesListed = await self._call("service_list", arguments)
        return result

    async def status_service(
        self,
        workspace_id: str,
        service_name: str,
    ) -> results.ServiceRecord:
        """Show whether a service of a workspace runs and is ready, or how it ended.

        Args:
            workspace_id: Workspace id or name.
            service_name: The service's name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "service_name": service_name,
        }
        result: results.ServiceRecord = await self._call("service_status", arguments)
        return result

    async def logs_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        tail_lines: int = 200,
        all: bool = False,
        skip_lines: int = 0,
        max_bytes: int | None = None,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.ServiceLogged:
        """Show the newest lines that a service of a workspace wrote.

        The newest 1 MiB of each stream is kept, even after the service and its VM have ended.

        Args:
            workspace_id: Workspace id or name.
            service_name: The service's name.
            tail_lines: How many lines of each stream to show, from the end.
            all: Show everything that is kept.
            skip_lines: How many of the newest lines of each stream to skip.
            max_bytes: Most bytes of each stream to show, in whole lines from the end; over MCP
                32768.
            encoding: Output as text, or as bytes in base64.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "service_name": service_name,
            "tail_lines": tail_lines,
            "all": all,
            "skip_lines": skip_lines,
            "max_bytes": max_bytes,
            "encoding": encoding,
        }
        result: results.ServiceLogged = await self._call("service_logs", arguments)
        return result

    async def stop_service(
        self,
        workspace_id: str,
        service_name: str,
    ) -> results.ServiceRecord:
        """Stop a service of a workspace, with everything that it started.

        It gets SIGTERM, and after five seconds what is left of it is killed. A service that has
        ended is left as it is.

        Args:
            workspace_id: Workspace id or name.
            service_name: The service's name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
            "service_name": service_name,
        }
        result: results.ServiceRecord = await self._call("service_stop", arguments)
        return result

    async def delete_workspace(
        self,
        workspace_id: str,
    ) -> results.WorkspaceDeleted:
        """Delete a workspace with all its files and history.

        Args:
            workspace_id: Workspace id or name.
        """
        arguments: dict[str, Any] = {
            "workspace_id": workspace_id,
        }
        result: results.WorkspaceDeleted = await self._call("workspace_delete", arguments)
        return result

    def workspace(
        self,
        *,
        environment: str,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int = 600,
        network_policy: Literal["off", "egress", "egress+published-ports"] = "off",
        allow_host_compat: bool = False,
        seed_path: str | os.PathLike[str] | None = None,
        exclude: list[str] | None = None,
        gitignore: bool = False,
        secrets: list[dict[str, Any]] | None = None,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        allow_net: list[str] | None = None,
        isolation: Literal["auto", "vm", "gvisor"] | None = None,
        keep: bool = False,
    ) -> AsyncWorkspace:
        """A workspace for a block of code.

        `async with pyro.workspace(environment="debian:12") as workspace:` creates it and
        deletes it when the block is left, whatever way. Its methods are those of `AsyncPyro`,
        without the id.

        Args:
            environment: The environment to start from, such as `debian:12`.
            vcpu_count: Virtual CPUs, 1 to 8.
            mem_mib: Memory in MiB, 256 to 32768.
            ttl_seconds: Idle seconds until the VM is stopped, 60 to 2592000, 0 for never; files
                are kept.
            network_policy: What the guest may reach.
            allow_host_compat: If no VM can run, run commands on this host, without isolation.
            seed_path: A folder or .tar, .tar.gz, .tgz or .tar.zst file of this host to start
                from.
            exclude: What to leave out, as in `.gitignore`; also from pushes.
            gitignore: Leave out what git ignores.
            secrets: Secrets for its commands, at most 64 KiB of text each. They are kept off
                the disk and redacted from output; `secret_env` passes one to a command.
            name: A name for the workspace.
            labels: Labels, as key and value.
            allow_net: Also allow these addresses, CIDR blocks or host names near this host,
                optionally with a port, such as `10.1.0.0/16` or `db.corp:5432`.
            isolation: What keeps its commands apart from this host; as PYRO_ISOLATION says if
                not given, or `auto`.
            keep: Whether the workspace stays when the block is left.
        """
        from ._asynchronous import AsyncWorkspace

        arguments: dict[str, Any] = {
            "environment": environment,
            "vcpu_count": vcpu_count,
            "mem_mib": mem_mib,
            "ttl_seconds": ttl_seconds,
            "network_policy": network_policy,
            "allow_host_compat": allow_host_compat,
            "seed_path": seed_path,
            "exclude": exclude,
            "gitignore": gitignore,
            "secrets": secrets,
            "name": name,
            "labels": labels,
            "allow_net": allow_net,
            "isolation": isolation,
        }
        return AsyncWorkspace(self, create=arguments, keep=keep)


class AsyncWorkspaceMethods:
    """What can be asked of one workspace."""

    workspace_id: str
    _pyro: AsyncMethods

    async def update(
        self,
        *,
        name: str | None = None,
        clear_name: bool = False,
        labels: dict[str, str] | None = None,
        clear_labels: list[str] | None = None,
    ) -> results.WorkspaceRecord:
        """Change the name and the labels of a workspace.

        Args:
            name: The new name.
            clear_name: Remove the name.
            labels: Labels to set, as key and value; others are kept.
            clear_labels: Keys of labels to remove.
        """
        return await self._pyro.update_workspace(
            self.workspace_id,
            name=name,
            clear_name=clear_name,
            labels=labels,
            clear_labels=clear_labels,
        )

    async def exec(
        self,
        *,
        command: str | None = None,
        timeout_seconds: int = 30,
        secret_env: dict[str, str] | None = None,
        wait_seconds: int | None = None,
        background: bool = False,
        stdin: str | None = None,
        stop: int | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        on_output: OnOutput | None = None,
    ) -> results.WorkspaceExecResult:
        """Run a command in a workspace, in `/workspace`.

        Each command has its own shell: `cd` and variables do not carry over, files do. Long
        output is cut in the middle; `workspace_logs` has all of it.

        For long work raise `timeout_seconds` and give `wait_seconds`: after an answer with
        `running: true` the command keeps running, and `workspace_logs` follows it.

        Args:
            command: A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`).
            timeout_seconds: Seconds until the command and all it started are ended; its output
                so far is returned.
            secret_env: Secrets of the workspace to pass to the command: from secret name to
                variable name.
            wait_seconds: Return after this many seconds at the latest; the command keeps
                running.
            background: Return at once; the command keeps running.
            stdin: Text for standard input.
            stop: End the running command with this `sequence`; takes no command.
            env: Environment variables, by name.
            cwd: The folder to run in; below `/workspace` if relative.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
            on_output: Called with `"stdout"` or `"stderr"` and bytes, as the command prints
                them.
        """
        return await self._pyro.exec_workspace(
            self.workspace_id,
            command=command,
            timeout_seconds=timeout_seconds,
            secret_env=secret_env,
            wait_seconds=wait_seconds,
            background=background,
            stdin=stdin,
            stop=stop,
            env=env,
            cwd=cwd,
            user=user,
            on_output=on_output,
        )

    async def push_sync(
        self,
        source_path: str | os.PathLike[str],
        *,
        dest: str = "/workspace",
        exclude: list[str] | None = None,
        gitignore: bool | None = None,
    ) -> results.Pushed:
        """Copy a folder or archive of this host into a workspace.

        Replaces existing files, deletes nothing, and is applied completely or not at all. Only
        what differs is transferred.

        Args:
            source_path: A folder or archive of this host, as for a seed.
            dest: A folder below `/workspace`, created if missing.
            exclude: More patterns to leave out, as in `.gitignore`; `!PATTERN` includes again.
                Later pushes remember them.
            gitignore: Whether to leave out what git ignores in the source; by default as last
                time.
        """
        return await self._pyro.push_workspace_sync(
            self.workspace_id,
            source_path,
            dest=dest,
            exclude=exclude,
            gitignore=gitignore,
        )

    async def status(self) -> results.WorkspaceRecord:
        """Show the state of a workspace: whether it runs, why it stopped, its last command."""
        return await self._pyro.status_workspace(
            self.workspace_id,
        )

    async def stop(self) -> results.WorkspaceRecord:
        """Stop a workspace: processes and memory are lost, files are kept."""
        return await self._pyro.stop_workspace(
            self.workspace_id,
        )

    async def start(self) -> results.WorkspaceRecord:
        """Start a stopped workspace.

        Rarely needed: every use of its files or commands starts it.
        """
        return await self._pyro.start_workspace(
            self.workspace_id,
        )

    async def logs(
        self,
        *,
        sequence: int | None = None,
        last: int | None = None,
        skip: int = 0,
        offset: int = 0,
        max_bytes: int | None = None,
        stderr_offset: int | None = None,
        wait_seconds: int | None = None,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.Logged:
        """Show the commands that ran in a workspace, with their output.

        Without `sequence`: the newest, each with the beginning of its output. With it: one
        command, from `offset` on, to read long output in pieces or follow a running command.

        Args:
            sequence: Only this command.
            last: How many of the newest to show.
            skip: How many of the newest to skip, events included; MCP returns 32 KiB.
            offset: Where to start, in bytes.
            max_bytes: Bytes of each stream to show; 65536 with `sequence` (over MCP 24576),
                else 4096.
            stderr_offset: The same for stderr; by default `offset`.
            wait_seconds: Seconds to wait for more output or the end.
            encoding: Output as text, or as bytes in base64.
        """
        return await self._pyro.logs_workspace(
            self.workspace_id,
            sequence=sequence,
            last=last,
            skip=skip,
            offset=offset,
            max_bytes=max_bytes,
            stderr_offset=stderr_offset,
            wait_seconds=wait_seconds,
            encoding=encoding,
        )

    async def export(
        self,
        path: str,
        *,
        output_path: str | os.PathLike[str],
        overwrite: bool = False,
    ) -> results.Exported:
        """Copy a file or folder of a workspace to this host.

        Writes nothing outside `output_path`, and follows no link of the guest.

        Args:
            path: What to copy: a path below `/workspace`.
            output_path: Where to write on this host: a new path, or for a file an existing
                folder.
            overwrite: Replace a file with a file, a folder with a folder.
        """
        return await self._pyro.export_workspace(
            self.workspace_id,
            path,
            output_path=output_path,
            overwrite=overwrite,
        )

    async def diff(
        self,
        *,
        max_bytes: int | None = None,
        skip: int = 0,
        binary: bool = False,
        prefix: str | None = None,
        commits: str | None = None,
    ) -> results.Differences:
        """Show what changed in `/workspace` since the workspace was created.

        Names every file that changed, with a unified diff where both sides are text, and counts
        new commits. The diff applies with `git apply`, `patch -p1` and `workspace_patch_apply`.

        Args:
            max_bytes: How many bytes of diffs to show; by default 67108864, over MCP 24576 and
                32 KiB of entries.
            skip: How many changed files (or commits) to skip.
            binary: Include binary files, as git binary patches.
            prefix: Prefix of each name in the diff; by default the seed's folder in its
                repository, over MCP none.
            commits: Show this folder's new commits instead, for `git am --keep-cr
                --keep-non-patch --patch-format=mboxrd`.
        """
        return await self._pyro.diff_workspace(
            self.workspace_id,
            max_bytes=max_bytes,
            skip=skip,
            binary=binary,
            prefix=prefix,
            commits=commits,
        )

    async def list_files(
        self,
        *,
        path: str = "/workspace",
        recursive: bool = False,
        max_entries: int | None = None,
        skip: int = 0,
    ) -> results.FileListing:
        """List files of a workspace.

        Args:
            path: A path below `/workspace`; a file or link lists itself.
            recursive: Also list subfolders.
            max_entries: How many entries to show; by default all, over MCP 32 KiB.
            skip: How many entries to skip.
        """
        return await self._pyro.list_workspace_files(
            self.workspace_id,
            path=path,
            recursive=recursive,
            max_entries=max_entries,
            skip=skip,
        )

    async def read_file(
        self,
        path: str,
        *,
        max_bytes: int = 65536,
        offset: int = 0,
        start_line: int | None = None,
        line_count: int | None = None,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.FileContent:
        """Read a file of a workspace.

        Read long files in pieces: by bytes with `offset` and `max_bytes`, or by lines with
        `start_line` and `line_count`. Binary files are not shown as text; `encoding` shows them
        in base64.

        Args:
            path: A path below `/workspace`.
            max_bytes: How much to read, in bytes, 1 to 1048576.
            offset: Where to start, in bytes.
            start_line: The first line to read, counted from 1; instead of `offset`.
            line_count: How many lines to read.
            encoding: `content` as text, or in base64 for a binary file.
        """
        return await self._pyro.read_workspace_file(
            self.workspace_id,
            path,
            max_bytes=max_bytes,
            offset=offset,
            start_line=start_line,
            line_count=line_count,
            encoding=encoding,
        )

    async def write_file(
        self,
        path: str,
        *,
        text: str | bytes,
        encoding: Literal["utf-8", "base64"] = "utf-8",
        user: str | None = None,
    ) -> results.FileWritten:
        """Write a whole file in a workspace.

        Creates missing folders. An existing file keeps its permissions, owner and hard links.
        To change part of a file use `workspace_patch_apply`.

        Args:
            path: A path below `/workspace`; a link is followed if it stays inside.
            text: The new content, at most 1048576 bytes.
            encoding: Whether `text` is the content itself, or base64 for a binary file.
            user: Whose a new file is: NAME or UID, or either with `:GROUP`; the image's user's
                or root's if not given.
        """
        return await self._pyro.write_workspace_file(
            self.workspace_id,
            path,
            text=text,
            encoding=encoding,
            user=user,
        )

    async def apply_patch(
        self,
        *,
        patch: str,
    ) -> results.Patched:
        """Apply a patch to the files of a workspace, all of it or nothing.

        Takes unified diffs (plain or git's: new, deleted, renamed and binary files, modes) and
        the `*** Begin Patch` … `*** End Patch` format. Paths are relative to `/workspace`. If a
        hunk does not apply, the error shows the most similar text of the file.

        Args:
            patch: The patch, at most 1048576 bytes.
        """
        return await self._pyro.apply_workspace_patch(
            self.workspace_id,
            patch=patch,
        )

    async def export_disk(
        self,
        *,
        output_path: str | os.PathLike[str],
    ) -> results.DiskExported:
        """Copy the whole disk of a stopped workspace to one ext4 image on this host.

        The image is sparse and self-contained: it can be mounted, or read with other tools. To
        copy files use `workspace_export`.

        Args:
            output_path: Where to write on this host; the path must not exist yet.
        """
        return await self._pyro.export_workspace_disk(
            self.workspace_id,
            output_path=output_path,
        )

    async def list_disk(
        self,
        *,
        path: str = "/workspace",
        recursive: bool = False,
        max_entries: int | None = None,
        skip: int = 0,
    ) -> results.DiskListing:
        """List files on the disk of a stopped workspace, without starting it.

        Any path of the guest, not only `/workspace`. For a running workspace use
        `workspace_file_list`, or stop it first.

        Args:
            path: A path in the guest; below `/workspace` if relative. A file or link lists
                itself.
            recursive: Also list subfolders.
            max_entries: How many entries to show; by default all, over MCP 32 KiB.
            skip: How many entries to skip.
        """
        return await self._pyro.list_workspace_disk(
            self.workspace_id,
            path=path,
            recursive=recursive,
            max_entries=max_entries,
            skip=skip,
        )

    async def read_disk(
        self,
        path: str,
        *,
        max_bytes: int = 65536,
        offset: int = 0,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.DiskContent:
        """Read a file on the disk of a stopped workspace, without starting it.

        Any regular file of the guest; links are followed inside the disk only. For a running
        workspace use `workspace_file_read`, or stop it first.

        Args:
            path: A path in the guest; below `/workspace` if relative.
            max_bytes: How much to read, in bytes; one call reads at most 64 MiB.
            offset: Where to start, in bytes.
            encoding: `content` as text, or in base64 for a binary file.
        """
        return await self._pyro.read_workspace_disk(
            self.workspace_id,
            path,
            max_bytes=max_bytes,
            offset=offset,
            encoding=encoding,
        )

    async def create_snapshot(
        self,
        snapshot_name: str,
    ) -> results.SnapshotCreated:
        """Save the current state of a workspace under a name.

        Take one before something risky: `workspace_reset` goes back to it. It holds the whole
        disk, including installed packages, and takes milliseconds whatever the size. Running
        processes keep running and are not part of it.

        Args:
            snapshot_name: A new name: letters, digits, `.`, `_`, `-`; not `baseline`.
        """
        return await self._pyro.create_snapshot(
            self.workspace_id,
            snapshot_name,
        )

    async def list_snapshots(self) -> results.Snapshots:
        """List the saved states of a workspace.

        `baseline`, the first state, comes first; then the newest.
        """
        return await self._pyro.list_snapshots(
            self.workspace_id,
        )

    async def delete_snapshot(
        self,
        snapshot_name: str,
    ) -> results.SnapshotDeleted:
        """Delete a saved state of a workspace.

        The files of the workspace and its other snapshots stay as they are. The space that only
        this snapshot needed is freed.

        Args:
            snapshot_name: Any snapshot except `baseline`.
        """
        return await self._pyro.delete_snapshot(
            self.workspace_id,
            snapshot_name,
        )

    async def reset(
        self,
        *,
        snapshot: str = "baseline",
    ) -> results.Reset:
        """Reset a workspace to its first state or to a snapshot.

        Restores the whole disk in a fresh VM: running processes end and later changes are lost.
        Id, name, labels, snapshots and command history are kept.

        Args:
            snapshot: `baseline`, or the name of a snapshot.
        """
        return await self._pyro.reset_workspace(
            self.workspace_id,
            snapshot=snapshot,
        )

    async def open_shell(
        self,
        *,
        cwd: str = "/workspace",
        cols: int = 120,
        rows: int = 30,
        secret_env: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> results.ShellOpened:
        """Open an interactive shell in a workspace.

        For what needs a terminal, or state that lasts between calls: a debugger, an interactive
        prompt, the current folder, variables. For everything else `workspace_exec` is simpler.
        The shell lives until it is closed, or until the workspace is stopped or reset.

        Args:
            cwd: The folder to start in, below `/workspace`.
            cols: Width of the terminal, in columns.
            rows: Height of the terminal, in rows.
            secret_env: Secrets of the workspace to pass to the shell: from secret name to
                variable name.
            env: Environment variables for the shell, by name.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
        """
        return await self._pyro.open_shell(
            self.workspace_id,
            cwd=cwd,
            cols=cols,
            rows=rows,
            secret_env=secret_env,
            env=env,
            user=user,
        )

    async def read_shell(
        self,
        shell_id: str,
        *,
        cursor: int = 0,
        max_chars: int = 65536,
        plain: bool = False,
        wait_for_idle_ms: int | None = None,
    ) -> results.ShellText:
        """Read the output of a shell from a cursor on.

        Start with cursor 0 and continue with the `next_cursor` of the answer. `plain` gives the
        text that a person would see: no colours, progress bars in their last state, and the
        screen of a full-screen program. `wait_for_idle_ms` waits until the shell has been
        silent for that long: use it to see everything that a command prints.

        Args:
            shell_id: Shell id, or a prefix of it.
            cursor: The first character to read, counted from 0.
            max_chars: How many characters to read, as the shell wrote them.
            plain: Show what a person would see instead of the raw terminal output.
            wait_for_idle_ms: Wait until nothing has been written for this many milliseconds, 1
                to 10000, but never longer than 30 seconds.
        """
        return await self._pyro.read_shell(
            self.workspace_id,
            shell_id,
            cursor=cursor,
            max_chars=max_chars,
            plain=plain,
            wait_for_idle_ms=wait_for_idle_ms,
        )

    async def write_shell(
        self,
        shell_id: str,
        *,
        input: str,
        append_newline: bool = True,
    ) -> results.ShellWritten:
        """Type text into a shell.

        A newline is added by default, as if Enter was pressed. Send keys as control characters:
        in JSON `\\u0003` for Ctrl-C, `\\u0004` for Ctrl-D, `\\u001b[A` for arrow up (on a
        command line `$'\\x03'` and so on). Read the shell afterwards to see the effect.

        Args:
            shell_id: Shell id, or a prefix of it.
            input: What to type.
            append_newline: Whether to add a newline.
        """
        return await self._pyro.write_shell(
            self.workspace_id,
            shell_id,
            input=input,
            append_newline=append_newline,
        )

    async def signal_shell(
        self,
        shell_id: str,
        *,
        signal_name: str = "INT",
    ) -> results.ShellSignalled:
        """Send a signal to what runs in the foreground of a shell.

        INT interrupts it as Ctrl-C does, KILL always ends it; the shell itself keeps running.
        If nothing runs in the foreground, the shell gets the signal. HUP reaches both.

        Args:
            shell_id: Shell id, or a prefix of it.
            signal_name: HUP, INT, TERM or KILL.
        """
        return await self._pyro.signal_shell(
            self.workspace_id,
            shell_id,
            signal_name=signal_name,
        )

    async def close_shell(
        self,
        shell_id: str,
    ) -> results.ShellClosed:
        """Close a shell, and end what runs in it.

        It gets SIGHUP, and is killed after five seconds. Its output can no longer be read. Only
        what a command deliberately left running in the background keeps running.

        Args:
            shell_id: Shell id, or a prefix of it.
        """
        return await self._pyro.close_shell(
            self.workspace_id,
            shell_id,
        )

    async def start_service(
        self,
        service_name: str,
        *,
        command: str,
        cwd: str = "/workspace",
        readiness: dict[str, Any] | None = None,
        ready_timeout_seconds: int = 30,
        ready_interval_ms: int = 500,
        secret_env: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        published_ports: list[dict[str, Any]] | None = None,
        user: str | None = None,
    ) -> results.ServiceStarted:
        """Start a service in a workspace: a command that keeps running, such as a web server.

        Use it instead of `command &`. Returns when the service is ready, or at once with the
        end of its log if it dies before that. It runs until `service_stop`, until it exits, or
        until the VM is stopped; a name can be reused once its service has ended.

        Args:
            service_name: A name for the service: letters, digits, `.`, `_` and `-`.
            command: A command line for `/bin/sh -l` (dash; for bash, `bash -c '…'`).
            cwd: The folder to run in, below `/workspace`.
            readiness: How it shows that it is ready: `type` is `file`, `tcp`, `http` or
                `command`, and beside it stands `path`, `address`, `url` or `command`.
            ready_timeout_seconds: Seconds that the service has to become ready before it is
                ended.
            ready_interval_ms: Milliseconds between two readiness checks, at most.
            secret_env: Secrets of the workspace to pass to the service: from secret name to
                variable name.
            env: Environment variables for the service, by name.
            published_ports: Guest ports to publish on 127.0.0.1 of this host while the service
                runs; without `host_port` on any free port. Needs the network policy
                `egress+published-ports`.
            user: Who runs it: NAME or UID, or either with `:GROUP`; the image's user or root if
                not given.
        """
        return await self._pyro.start_service(
            self.workspace_id,
            service_name,
            command=command,
            cwd=cwd,
            readiness=readiness,
            ready_timeout_seconds=ready_timeout_seconds,
            ready_interval_ms=ready_interval_ms,
            secret_env=secret_env,
            env=env,
            published_ports=published_ports,
            user=user,
        )

    async def list_services(
        self,
        *,
        skip: int = 0,
    ) -> results.ServicesListed:
        """List the services of a workspace, running or ended.

        Args:
            skip: How many services to skip; MCP returns at most 32 KiB of them.
        """
        return await self._pyro.list_services(
            self.workspace_id,
            skip=skip,
        )

    async def status_service(
        self,
        service_name: str,
    ) -> results.ServiceRecord:
        """Show whether a service of a workspace runs and is ready, or how it ended.

        Args:
            service_name: The service's name.
        """
        return await self._pyro.status_service(
            self.workspace_id,
            service_name,
        )

    async def logs_service(
        self,
        service_name: str,
        *,
        tail_lines: int = 200,
        all: bool = False,
        skip_lines: int = 0,
        max_bytes: int | None = None,
        encoding: Literal["utf-8", "base64"] = "utf-8",
    ) -> results.ServiceLogged:
        """Show the newest lines that a service of a workspace wrote.

        The newest 1 MiB of each stream is kept, even after the service and its VM have ended.

        Args:
            service_name: The service's name.
            tail_lines: How many lines of each stream to show, from the end.
            all: Show everything that is kept.
            skip_lines: How many of the newest lines of each stream to skip.
            max_bytes: Most bytes of each stream to show, in whole lines from the end; over MCP
                32768.
            encoding: Output as text, or as bytes in base64.
        """
        return await self._pyro.logs_service(
            self.workspace_id,
            service_name,
            tail_lines=tail_lines,
            all=all,
            skip_lines=skip_lines,
            max_bytes=max_bytes,
            encoding=encoding,
        )

    async def stop_service(
        self,
        service_name: str,
    ) -> results.ServiceRecord:
        """Stop a service of a workspace, with everything that it started.

        It gets SIGTERM, and after five seconds what is left of it is killed. A service that has
        ended is left as it is.

        Args:
            service_name: The service's name.
        """
        return await self._pyro.stop_service(
            self.workspace_id,
            service_name,
        )

    async def delete(self) -> results.WorkspaceDeleted:
        """Delete a workspace with all its files and history."""
        return await self._pyro.delete_workspace(
            self.workspace_id,
        )
