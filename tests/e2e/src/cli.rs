//! The command line: words to verbs of the library.

mod status;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use weft_e2e::error::{Context, Error, Result};
use weft_e2e::spec::NodeSpec;
use weft_e2e::timeline::Timeline;
use weft_e2e::{Cluster, ClusterSpec, tools};

/// A real Kubernetes cluster on this machine: each node has a kubelet, containerd and
/// kube-proxy in namespaces of its own.
#[derive(Parser)]
#[command(name = "weft-testbed", version)]
struct Cli {
    /// The cluster; several can be up at once.
    #[arg(long, global = true, env = "WEFT_CLUSTER", default_value = "demo")]
    cluster: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install and build what the testbed needs; instant when nothing is missing.
    Deps,
    /// Bring a cluster up.
    Up(Up),
    /// Remove a cluster, or what is left of one, and check that nothing remains.
    Down,
    /// What is up, and how it is.
    Status,
    /// Add, stop, start or power off a node.
    #[command(subcommand)]
    Node(NodeVerb),
    /// Run a command on a node, or in the network namespace of `outside`, `control`, `router` or a router of a rack.
    Exec {
        /// Where.
        name: String,
        /// What.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Run kubectl.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run helm.
    #[command(disable_help_flag = true)]
    Helm {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Lose every packet between two of: nodes, `control`, `outside`.
    Partition {
        /// One.
        a: String,
        /// The other.
        b: String,
        /// Only packets from the first to the second.
        #[arg(long)]
        one_way: bool,
    },
    /// End the faults of the underlay: all, or those between two.
    Heal {
        /// One.
        #[arg(requires = "b")]
        a: Option<String>,
        /// The other.
        b: Option<String>,
    },
    /// Lose some packets between two, each way.
    Drop {
        /// How many of a hundred.
        percent: f64,
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// Pull out the cable of a node, a router, `control` or `outside`, or put it back. `up-NAME` is the uplink
    /// of the router NAME.
    #[command(subcommand)]
    Link(LinkVerb),
    /// Change the MTU of a node's link, in bytes.
    Mtu {
        /// The node.
        node: String,
        /// At most that of its subnet.
        mtu: u32,
    },
    /// Give a running node other addresses.
    Address {
        /// The node.
        node: String,
        /// Its number in its subnet, 2 to 250.
        host: u32,
    },
    /// The routing daemons of racks.
    #[command(subcommand)]
    Router(RouterVerb),
    /// Stop or start the control plane.
    #[command(subcommand)]
    Api(ApiVerb),
    /// Fill the disk of a node.
    FillDisk {
        /// The node.
        node: String,
    },
    /// Undo fill-disk.
    FreeDisk {
        /// The node.
        node: String,
    },
    /// Container images.
    #[command(subcommand)]
    Images(ImagesVerb),
}

#[derive(Args)]
struct Up {
    /// demo (three nodes, two subnets), flat (three nodes, one subnet), single, ipv4, ipv6, racks
    /// (two with a router each) or ecmp (two routers in the first).
    #[arg(default_value = "demo", conflicts_with = "spec")]
    preset: String,
    /// A description in YAML instead; its name is used unless --cluster is given.
    #[arg(long)]
    spec: Option<PathBuf>,
}

#[derive(Subcommand)]
enum NodeVerb {
    /// Add a node to the running cluster.
    Add {
        /// Its name.
        name: String,
        /// The subnet that it is on; the first one by default.
        #[arg(long)]
        subnet: Option<String>,
    },
    /// Shut a node down: every process gets SIGTERM, then the power goes.
    Stop {
        /// The node.
        name: String,
    },
    /// Switch a node on again.
    Start {
        /// The node.
        name: String,
    },
    /// Cut a node's power.
    Kill {
        /// The node.
        name: String,
    },
}

#[derive(Subcommand)]
enum LinkVerb {
    /// Out.
    Down {
        /// Whose.
        name: String,
    },
    /// In.
    Up {
        /// Whose.
        name: String,
    },
}

#[derive(Subcommand)]
enum RouterVerb {
    /// Kill the daemon and start it again.
    Restart {
        /// The router.
        name: String,
    },
    /// Announce these prefixes to nodes, true or not, and no others.
    Announce {
        /// The router.
        name: String,
        /// The prefixes.
        prefixes: Vec<ipnet::IpNet>,
    },
    /// Run a command of birdc or vtysh, whichever the router has.
    Ask {
        /// The router.
        name: String,
        /// The command.
        #[arg(trailing_var_arg = true, required = true)]
        words: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ApiVerb {
    /// Kill all of it.
    Stop,
    /// Start all of it, and wait until the API server is ready.
    Start,
}

#[derive(Subcommand)]
enum ImagesVerb {
    /// Build images, by the names of their directories, and load them into every node.
    Load {
        /// The names.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Does what the command line says.
pub fn run() -> Result<ExitCode> {
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Runtime::new().doing(|| "start the asynchronous runtime".to_owned())?;
    runtime.block_on(dispatch(cli)).map(|()| ExitCode::SUCCESS)
}

async fn dispatch(cli: Cli) -> Result<()> {
    let name = cli.cluster;
    match cli.verb {
        Verb::Deps => become_command(Command::new(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("setup.sh"),
        )),
        Verb::Up(up) => bring_up(up, name).await,
        Verb::Down => Cluster::down(&name),
        Verb::Status => status::print().await,
        Verb::Node(verb) => node(&Cluster::attach(&name)?, verb).await,
        Verb::Exec { name: place, argv } => exec(&Cluster::attach(&name)?, &place, &argv),
        Verb::Kubectl { args } => passthrough(&Cluster::attach(&name)?, "kubectl", &args),
        Verb::Helm { args } => passthrough(&Cluster::attach(&name)?, "helm", &args),
        Verb::Partition {
            a,
            b,
            one_way: true,
        } => Cluster::attach(&name)?.partition_one_way(&a, &b).await,
        Verb::Partition {
            a,
            b,
            one_way: false,
        } => Cluster::attach(&name)?.partition(&a, &b).await,
        Verb::Heal {
            a: Some(a),
            b: Some(b),
        } => Cluster::attach(&name)?.heal_between(&a, &b).await,
        Verb::Heal { .. } => Cluster::attach(&name)?.heal().await,
        Verb::Drop { percent, a, b } => Cluster::attach(&name)?.drop_percent(percent, &a, &b).await,
        Verb::Link(LinkVerb::Down { name: who }) => Cluster::attach(&name)?.link_down(&who).await,
        Verb::Link(LinkVerb::Up { name: who }) => Cluster::attach(&name)?.link_up(&who).await,
        Verb::Mtu { node, mtu } => Cluster::attach(&name)?.set_mtu(&node, mtu).await,
        Verb::Address { node, host } => Cluster::attach(&name)?.set_address(&node, host).await,
        Verb::Router(verb) => router(&Cluster::attach(&name)?, verb).await,
        Verb::Api(ApiVerb::Stop) => Cluster::attach(&name)?.stop_api(),
        Verb::Api(ApiVerb::Start) => Cluster::attach(&name)?.start_api().await,
        Verb::FillDisk { node } => Cluster::attach(&name)?.node(&node)?.fill_disk(),
        Verb::FreeDisk { node } => Cluster::attach(&name)?.node(&node)?.free_disk(),
        Verb::Images(ImagesVerb::Load { names }) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let images = Cluster::attach(&name)?.load_images(&names).await?;
            images
                .iter()
                .for_each(|image| println!("{}", image.reference));
            Ok(())
        }
    }
}

async fn bring_up(up: Up, name: String) -> Result<()> {
    let spec = match up.spec {
        Some(path) => ClusterSpec::read(&path)?,
        None => ClusterSpec::preset(&up.preset, &name).ok_or_else(|| {
            Error::State(format!(
                "there is no preset {}; there are demo, flat, single, ipv4, ipv6, racks, ecmp",
                up.preset
            ))
        })?,
    };
    let cluster = Cluster::up(spec, &Timeline::loud()).await?;
    println!("\nexport KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(())
}

async fn node(cluster: &Cluster, verb: NodeVerb) -> Result<()> {
    match verb {
        NodeVerb::Add { name, subnet } => {
            let first = || cluster.spec().map(|spec| spec.subnets[0].name.clone());
            let subnet = subnet.map_or_else(first, Ok)?;
            cluster
                .add_node(NodeSpec::new(&name, &subnet))
                .await
                .map(|_| ())
        }
        NodeVerb::Stop { name } => cluster.node(&name)?.shut_down().await,
        NodeVerb::Start { name } => cluster.node(&name)?.power_on().await,
        NodeVerb::Kill { name } => cluster.node(&name)?.power_off().await,
    }
}

async fn router(cluster: &Cluster, verb: RouterVerb) -> Result<()> {
    match verb {
        RouterVerb::Restart { name } => cluster.restart_router(&name).await,
        RouterVerb::Announce { name, prefixes } => {
            cluster
                .set_router(&name, |settings| settings.announced = prefixes)
                .await
        }
        RouterVerb::Ask { name, words } => {
            let said = cluster.routers()?.ask(&name, &words.join(" ")).await?;
            print!("{said}");
            Ok(())
        }
    }
}

fn exec(cluster: &Cluster, place: &str, argv: &[String]) -> Result<()> {
    let mut command = Command::new("nsenter");
    let racks = cluster.plan()?.routers;
    let rack_router = racks.iter().any(|router| router.endpoint.name == place);
    if rack_router || ["outside", "control", "router"].contains(&place) {
        let netns = weft_e2e::plan::netns(cluster.name(), place);
        command
            .arg(format!("--net={}", weft_e2e::netns::path(&netns).display()))
            .arg("--");
    } else {
        command.args(cluster.node(place)?.enter_arguments()?);
    }
    command.args(argv);
    become_command(command)
}

fn passthrough(cluster: &Cluster, program: &str, args: &[String]) -> Result<()> {
    let mut command = Command::new(tools::built(program)?);
    command.args(args).env("KUBECONFIG", cluster.kubeconfig());
    become_command(command)
}

/// Goes on as another program, so that terminal, signals and exit code are its own.
fn become_command(mut command: Command) -> Result<()> {
    let error = command.exec();
    Err(error).doing(|| format!("run {}", command.get_program().to_string_lossy()))
}
