//! What a model may have of this host and beyond: the folders that a person named, networks where they
//! are not forbidden, and no execution on this host.

use std::fs;
use std::os::unix::fs::symlink;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE};
use pyro_tests::world::finish;
use pyro_tests::{Workspace, World};
use serde_json::{Value, json};

use crate::no_qemu::without_qemu;

crate::stories! { [process]:
    arguments_name_paths_of_the_given_folders_only,
    networks_can_be_forbidden_to_models,
    a_model_cannot_choose_the_host_where_no_vm_runs,
}

fn connect(world: &World) -> Connection {
    let profile = ["--profile", "workspace-full"];
    Connection::initialized(world, &profile, NEWEST_WITH_INITIALIZE)
}

fn arguments_name_paths_of_the_given_folders_only(world: &World) {
    let world = World::new(world.backend);
    let project = world.folder().join("project");
    let world = world.with("PYRO_MCP_FOLDERS", project);
    let at = |name: &str| world.folder().join(name);
    for folder in ["project", "private"] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("file"), folder).unwrap();
    }
    symlink(at("private"), at("project/link")).unwrap();
    let mut client = connect(&world);
    let mut call = |tool: &str, arguments: Value| client.call(1, tool, arguments);
    let create = |more: Value| {
        let mut asked = json!({ "environment": "debian:12", "allow_host_compat": true });
        let more = more.as_object().unwrap().clone();
        asked.as_object_mut().unwrap().extend(more);
        asked
    };

    let mut refused = Vec::new();
    for seed in [at("private"), at("project/link"), at("project/../private")] {
        refused.push(call(
            "workspace_create",
            create(json!({ "seed_path": seed })),
        ));
    }
    let secrets = json!({ "secrets": [{ "name": "A", "file_path": at("private/file") }] });
    refused.push(call("workspace_create", create(secrets)));
    let listed = call("workspace_list", json!({}));
    assert_eq!(listed["structuredContent"]["count"], 0, "{listed}");

    // A seed may not hold links that leave it, so this one begins below.
    fs::create_dir(at("project/source")).unwrap();
    fs::write(at("project/source/file"), "project").unwrap();
    let seed = json!({ "seed_path": at("project/source") });
    let workspace = call("workspace_create", create(seed));
    let id = workspace["structuredContent"]["workspace_id"].clone();
    assert!(id.is_string(), "{workspace}");
    let push = json!({ "workspace_id": id, "source_path": at("private") });
    refused.push(call("workspace_sync_push", push));
    for output in [at("private/out"), at("out"), at("project/link/file")] {
        let export = json!({
            "workspace_id": id, "path": "file", "output_path": output, "overwrite": true,
        });
        refused.push(call("workspace_export", export));
    }
    for answer in &refused {
        let told = &answer["structuredContent"];
        assert_eq!(told["code"], "invalid_argument", "{answer}");
        assert!(told.to_string().contains("PYRO_MCP_FOLDERS"), "{answer}");
    }
    assert_eq!(fs::read_to_string(at("private/file")).unwrap(), "private");
    assert!(!at("out").exists());

    let export =
        json!({ "workspace_id": id, "path": "file", "output_path": at("project/new/out") });
    let exported = call("workspace_export", export);
    assert_eq!(exported["isError"], false, "{exported}");
    assert_eq!(
        fs::read_to_string(at("project/new/out")).unwrap(),
        "project"
    );
    call("workspace_delete", json!({ "workspace_id": id }));
    // The person's own commands know no such limit.
    let surface = CommandLine(&world);
    let own = Workspace::with(&world, &surface, json!({ "seed_path": at("private") }));
    assert_eq!(own.output("cat file"), "private");
}

fn networks_can_be_forbidden_to_models(world: &World) {
    let asks = |client: &mut Connection| -> Vec<Value> {
        let host = json!({ "environment": "debian:12", "allow_host_compat": true });
        let workspace = client.call(1, "workspace_create", host);
        let id = &workspace["structuredContent"]["workspace_id"];
        let asked = [
            ("vm_run", json!({ "network": true, "command": "true" })),
            ("vm_create", json!({ "network": true })),
            ("workspace_create", json!({ "network_policy": "egress" })),
            (
                "workspace_create",
                json!({ "network_policy": "egress+published-ports", "allow_net": ["10.0.0.1"] }),
            ),
        ];
        let mut answers: Vec<Value> = asked
            .into_iter()
            .map(|(tool, mut asked)| {
                asked["environment"] = json!("debian:12");
                asked["allow_host_compat"] = json!(true);
                client.call(1, tool, asked)
            })
            .collect();
        let publish = json!({
            "workspace_id": id, "service_name": "web", "command": "exec sleep 1000",
            "published_ports": [{ "guest_port": 80 }],
        });
        answers.push(client.call(1, "service_start", publish));
        client.call(1, "workspace_delete", json!({ "workspace_id": id }));
        answers
    };
    for (setting, is_forbidden) in [("off", true), ("none", true), ("on", false)] {
        let world = World::new(world.backend).with("PYRO_MCP_NETWORK", setting);
        let mut client = connect(&world);
        let plain = json!({ "environment": "debian:12", "command": "echo out", "network": false,
                            "allow_host_compat": true });
        let ran = client.call(1, "vm_run", plain);
        assert_eq!(ran["structuredContent"]["stdout"], "out\n", "{ran}");
        for answer in asks(&mut client) {
            // On this host, without a VM, no command gets a network of its own either.
            let told = &answer["structuredContent"];
            assert_eq!(told["code"], "unsupported", "{answer}");
            let by = format!("PYRO_MCP_NETWORK={setting} forbids");
            assert_eq!(told.to_string().contains(&by), is_forbidden, "{answer}");
        }
        drop(client);
        let listed = finish(&mut world.pyro(["workspace", "list", "--json"])).json();
        assert_eq!(listed["count"], 0, "{listed}");
        world.assert_empty();
    }
}

fn a_model_cannot_choose_the_host_where_no_vm_runs(world: &World) {
    let world = World::new(world.backend).with("PYRO_BACKEND", "auto");
    let profile = ["mcp", "serve", "--profile", "workspace-full"];
    let mut client = Connection::with(without_qemu(&world, &profile));
    client.initialize(NEWEST_WITH_INITIALIZE);
    for tool in ["vm_run", "workspace_create", "vm_create"] {
        let mut asked = json!({ "environment": "debian:12", "allow_host_compat": true });
        if tool == "vm_run" {
            asked["command"] = json!("id");
        }
        let answer = client.call(1, tool, asked);
        let told = &answer["structuredContent"];
        assert_eq!(told["code"], "vm_unavailable", "{answer}");
        assert!(!told.to_string().contains("allow_host_compat"), "{answer}");
    }
}
