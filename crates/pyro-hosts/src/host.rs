//! The hosts that pyro knows: where each keeps its servers, and in which shape.

/// A program that starts MCP servers.
#[derive(Debug)]
pub struct Host {
    /// What it is called on the command line.
    pub id: &'static str,
    pub title: &'static str,
    pub format: Format,
    /// The keys that lead from the top of the document to the servers.
    pub(crate) servers: &'static [&'static str],
    /// The key in a person's file below which projects, by their folders, have servers of their own.
    pub(crate) projects_key: Option<&'static str>,
    pub(crate) shape: Shape,
    /// The file of a person; `None` where pyro cannot know it.
    pub(crate) user: Option<UserFile>,
    /// The file of a project, below its folder; the first that exists, else the last.
    pub(crate) project: &'static [&'static str],
    /// It is started from a terminal, whose `PATH` it hands on.
    pub(crate) from_terminal: bool,
    /// The program to look for.
    pub(crate) program: Option<&'static str>,
    /// What makes it notice the entry, and shows that it did.
    pub(crate) next: &'static str,
    /// What a person must know about an entry in a project.
    pub(crate) project_note: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As the standard has it: the host itself refuses comments.
    Json,
    /// With comments and trailing commas.
    Jsonc,
    Toml,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Jsonc => "JSON with comments",
            Self::Toml => "TOML",
        }
    }
}

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The value of `type`, where the host wants one.
    pub(crate) kind: Option<&'static str>,
    /// Program and arguments are one list.
    pub(crate) command_is_list: bool,
    /// What the variables are called.
    pub(crate) env: &'static str,
}

const PLAIN: Shape = Shape {
    kind: None,
    command_is_list: false,
    env: "env",
};

const STDIO: Shape = Shape {
    kind: Some("stdio"),
    ..PLAIN
};

/// The folder of a person's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BaseDir {
    /// Below the home folder.
    Home(&'static str),
    /// Below `$XDG_CONFIG_HOME`, else `~/.config`.
    Config(&'static str),
    /// What the variable says, else this below the home folder.
    Variable(&'static str, &'static str),
}

#[derive(Debug)]
pub(crate) struct UserFile {
    pub(crate) base: BaseDir,
    /// The first that exists, else the last: what one says counts more than what later ones say.
    pub(crate) files: &'static [&'static str],
}

pub const HOSTS: &[Host] = &[
    Host {
        id: "claude-code",
        title: "Claude Code",
        format: Format::Json,
        servers: &["mcpServers"],
        projects_key: Some("projects"),
        shape: STDIO,
        user: Some(UserFile {
            base: BaseDir::Variable("CLAUDE_CONFIG_DIR", ""),
            files: &[".claude.json"],
        }),
        project: &[".mcp.json"],
        from_terminal: true,
        program: Some("claude"),
        next: "start a new session; `claude mcp list` shows the connection",
        project_note: Some("Claude Code asks each person once whether to trust it"),
    },
    Host {
        id: "codex",
        title: "Codex",
        format: Format::Toml,
        servers: &["mcp_servers"],
        projects_key: None,
        shape: PLAIN,
        user: Some(UserFile {
            base: BaseDir::Variable("CODEX_HOME", ".codex"),
            files: &["config.toml"],
        }),
        project: &[".codex/config.toml"],
        from_terminal: true,
        program: Some("codex"),
        next: "start a new session; `codex mcp list` shows the entry",
        project_note: Some("Codex reads it in trusted projects only"),
    },
    Host {
        id: "opencode",
        title: "OpenCode",
        format: Format::Jsonc,
        servers: &["mcp"],
        projects_key: None,
        shape: Shape {
            kind: Some("local"),
            command_is_list: true,
            env: "environment",
        },
        user: Some(UserFile {
            base: BaseDir::Config("opencode"),
            files: &["opencode.jsonc", "opencode.json"],
        }),
        project: &["opencode.jsonc", "opencode.json"],
        from_terminal: true,
        program: Some("opencode"),
        next: "start a new session; `opencode mcp list` shows the connection",
        project_note: None,
    },
    Host {
        id: "claude-desktop",
        title: "Claude Desktop",
        format: Format::Json,
        servers: &["mcpServers"],
        projects_key: None,
        shape: PLAIN,
        user: Some(UserFile {
            base: BaseDir::Config("Claude"),
            files: &["claude_desktop_config.json"],
        }),
        project: &[],
        from_terminal: false,
        program: None,
        next: "quit Claude Desktop and start it again; closing the window is not enough",
        project_note: None,
    },
    Host {
        id: "cursor",
        title: "Cursor",
        format: Format::Jsonc,
        servers: &["mcpServers"],
        projects_key: None,
        shape: PLAIN,
        user: Some(UserFile {
            base: BaseDir::Home(".cursor"),
            files: &["mcp.json"],
        }),
        project: &[".cursor/mcp.json"],
        from_terminal: false,
        program: Some("cursor"),
        next: "open Settings, MCP, and check that pyro is switched on",
        project_note: None,
    },
    Host {
        id: "vscode",
        title: "VS Code",
        format: Format::Jsonc,
        servers: &["servers"],
        projects_key: None,
        shape: STDIO,
        user: Some(UserFile {
            base: BaseDir::Config("Code/User"),
            files: &["mcp.json"],
        }),
        project: &[".vscode/mcp.json"],
        from_terminal: false,
        program: Some("code"),
        next: "run `MCP: List Servers` from the command palette and start it there",
        project_note: None,
    },
    Host {
        id: "gemini-cli",
        title: "Gemini CLI",
        format: Format::Jsonc,
        servers: &["mcpServers"],
        projects_key: None,
        shape: PLAIN,
        user: Some(UserFile {
            base: BaseDir::Home(".gemini"),
            files: &["settings.json"],
        }),
        project: &[".gemini/settings.json"],
        from_terminal: true,
        program: Some("gemini"),
        next: "start a new session; `/mcp` shows the tools",
        project_note: Some("Gemini CLI reads it in trusted folders only"),
    },
    Host {
        id: "zed",
        title: "Zed",
        format: Format::Jsonc,
        servers: &["context_servers"],
        projects_key: None,
        shape: PLAIN,
        user: Some(UserFile {
            base: BaseDir::Config("zed"),
            files: &["settings.json"],
        }),
        project: &[".zed/settings.json"],
        from_terminal: false,
        program: Some("zed"),
        next: "open the settings of the Agent Panel; the dot beside pyro turns green",
        project_note: Some("Zed starts servers of trusted projects only"),
    },
    Host {
        id: "generic",
        title: "an MCP host",
        format: Format::Json,
        servers: &["mcpServers"],
        projects_key: None,
        shape: PLAIN,
        user: None,
        project: &[],
        from_terminal: false,
        program: None,
        next: "restart the host",
        project_note: None,
    },
];

pub fn find(id: &str) -> Option<&'static Host> {
    HOSTS.iter().find(|host| host.id == id)
}
