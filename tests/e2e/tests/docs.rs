//! What docs/bgp.md shows is what programs take, and what the testbed uses.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use weft_e2e::apiserver::ApiServer;
use weft_e2e::command::Cmd;
use weft_e2e::plan::Plan;
use weft_e2e::routers::{Settings, configuration, speakers};
use weft_e2e::{ClusterSpec, tools};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The blocks of a language on the page.
fn blocks(language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/bgp.md")).expect("the page");
    let begin = format!("```{language}\n");
    let found: Vec<String> = page
        .split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect();
    assert!(found.len() >= 3, "{} blocks of {language}", found.len());
    found
}

#[tokio::test]
async fn bird_takes_its_configurations() {
    for text in blocks("bird") {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bird.conf");
        std::fs::write(&file, &text).expect("written");
        let bird = Cmd::new(tools::installed("bird").expect("there"));
        let parsed = bird.args(["-p", "-c"]).args([&file]).run().await;
        parsed.unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

#[tokio::test]
async fn bgpd_takes_its_configurations() {
    for text in blocks("frr") {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bgpd.conf");
        std::fs::write(&file, &text).expect("written");
        // It reads the file as a user of its own.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("opened");
        // It writes to /var/tmp, which is not to stay.
        let own = "mount -t tmpfs tmpfs /var/tmp && exec \"$@\"";
        let bgpd = Cmd::new("unshare").args(["--mount", "sh", "-c", own, "sh"]);
        let bgpd = bgpd.args(["/usr/lib/frr/bgpd", "-C", "-f"]);
        let said = bgpd.args([&file]).output().await.expect("runs");
        // A line that it does not know is no reason for it to fail.
        let told = said.stdout.clone() + &said.stderr;
        assert!(
            said.success() && !told.contains("config line"),
            "{told}\n{text}"
        );
    }
}

/// With the names of fields taken strictly.
#[tokio::test]
async fn the_api_server_takes_its_objects() {
    let server = ApiServer::start().await.expect("starts");
    let crds = root().join("crds/yaml").display().to_string();
    let made = server.kubectl(["apply", "-f", &crds]).await.expect("runs");
    assert!(made.success(), "{}", made.stderr);
    let wait = ["wait", "--for=condition=established", "crd", "--all"];
    assert!(server.kubectl(wait).await.expect("runs").success());
    for text in blocks("yaml") {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("objects.yaml");
        std::fs::write(&file, &text).expect("written");
        let file = file.display().to_string();
        let create = [
            "create",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            &file,
        ];
        let taken = server.kubectl(create).await.expect("runs");
        assert!(taken.success(), "{}\n{text}", taken.stderr);
    }
}

#[test]
fn the_routers_of_the_racks_are_those_of_the_testbed() {
    let spec = ClusterSpec::racks("x").validated().expect("valid");
    let speakers = speakers(&spec, &Plan::new(&spec, 0), |_| Settings::default());
    let blocks = [blocks("bird"), blocks("frr")].concat();
    for name in ["tor-a", "tor-b"] {
        let speaker = speakers.iter().find(|speaker| speaker.name == name);
        let text = configuration(speaker.expect("there is such a router"));
        assert!(
            blocks.iter().any(|block| block.trim() == text.trim()),
            "the page has not the configuration of {name}:\n{text}"
        );
    }
}
