//! etcd, kube-apiserver, controller-manager and scheduler, in the control plane's
//! network namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::apiserver::{api_server_arguments, client_from, etcd_arguments, http_get};
use crate::error::{Context, Error, Result, write_private_file};
use crate::launch::Launch;
use crate::node_config::api_service_addresses;
use crate::plan::Plan;
use crate::process::{ProcessId, kill_and_wait};
use crate::spec::ClusterSpec;
use crate::state::{Saved, StateDir};
use crate::{pki, tools, wait};

const READY_LIMIT: Duration = Duration::from_secs(90);
const ETCD_PORT: u16 = 2379;
/// How long a node may be silent until it is NotReady. Long enough for a busy machine.
const SILENCE: &str = "16s";

/// The parts whose end is the API's end.
pub const API: [&str; 2] = ["etcd", "kube-apiserver"];
/// The parts that need the API.
pub const CONTROLLERS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// The programs of a cluster that run on no node.
pub struct ControlPlane<'a> {
    dir: &'a StateDir,
    spec: &'a ClusterSpec,
    plan: Plan,
}

impl<'a> ControlPlane<'a> {
    /// The control plane of a cluster.
    pub fn new(dir: &'a StateDir, saved: &'a Saved) -> Self {
        Self {
            dir,
            spec: &saved.spec,
            plan: saved.plan(),
        }
    }

    /// Makes the certificates and kubeconfig files.
    pub fn write_pki(&self) -> Result<()> {
        let link = &self.plan.host_link;
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), link.control.addr()];
        addresses.extend(self.plan.control.ips());
        addresses.extend(api_service_addresses(self.spec));
        let pki = self.dir.pki();
        let authority = pki::save_control_plane(&pki, &addresses)?;
        let local = "https://127.0.0.1:6443".to_owned();
        for (file, user, groups, server) in [
            (
                self.dir.kubeconfig(),
                "admin",
                &["system:masters"][..],
                format!("https://{}:6443", link.control.addr()),
            ),
            (
                self.kubeconfig(CONTROLLERS[0]),
                "system:kube-controller-manager",
                &[],
                local.clone(),
            ),
            (
                self.kubeconfig(CONTROLLERS[1]),
                "system:kube-scheduler",
                &[],
                local,
            ),
        ] {
            let identity = authority.client(user, groups)?;
            write_private_file(
                file,
                pki::kubeconfig(&self.spec.name, &server, authority.certificate(), &identity),
            )?;
        }
        Ok(())
    }

    /// Starts some of its programs.
    pub async fn start(&self, names: &[&str]) -> Result<()> {
        for name in names {
            if self.process(name).is_some() {
                return Err(Error::State(format!("{name} runs already")));
            }
            let launch = Launch {
                argv: self.command_line(name)?,
                netns: self.plan.control.netns.clone(),
                cgroup: None,
                machine: false,
                log: self.log(name),
                pid_file: self.pid_file(name),
                cluster: self.spec.name.clone(),
            };
            launch.start().await?;
        }
        Ok(())
    }

    /// Kills some of its programs. Those that do not run are no error.
    pub fn kill(&self, names: &[&str]) -> Result<()> {
        let running: Vec<_> = names.iter().filter_map(|name| self.process(name)).collect();
        kill_and_wait(&running)
    }

    /// Waits until the API server says that it is ready.
    pub async fn ready(&self) -> Result<()> {
        wait::until("the API server to be ready", READY_LIMIT, async || {
            for name in API {
                if self.process(name).is_none() {
                    return Ok(Err(Error::State(format!(
                        "{name} has ended; {} says why",
                        self.log(name).display()
                    ))));
                }
            }
            let client = client_from(&self.dir.kubeconfig()).await?;
            client
                .request_text(http_get("/readyz")?)
                .await
                .doing(|| "get /readyz".to_owned())
                .map(|_| Ok(()))
        })
        .await?
    }

    /// A program of it, if it runs.
    pub fn process(&self, name: &str) -> Option<ProcessId> {
        ProcessId::load(&self.pid_file(name))
            .ok()
            .filter(|id| id.alive())
    }

    fn command_line(&self, name: &str) -> Result<Vec<String>> {
        if name == "etcd" {
            return etcd_arguments(&self.dir.file("etcd"), ETCD_PORT, ETCD_PORT + 1);
        }
        let mut argv = vec![tools::built(name)?.display().to_string()];
        argv.extend(match name {
            "kube-apiserver" => self.api_server(),
            "kube-controller-manager" => self.controller_manager(),
            _ => self.with_kubeconfig(name),
        });
        argv.push(format!("--v={}", self.spec.verbosity));
        Ok(argv)
    }

    fn api_server(&self) -> Vec<String> {
        let pki = self.dir.pki();
        let file = |name: &str| pki::file(&pki, name);
        let services: Vec<_> = self
            .spec
            .service_cidrs
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut argv = api_server_arguments(&pki, ETCD_PORT);
        argv.extend([
            // Takes IPv4 too.
            "--bind-address=::".to_owned(),
            "--secure-port=6443".to_owned(),
            format!("--advertise-address={}", self.plan.api_server()),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--service-cluster-ip-range={}", services.join(",")),
            format!(
                "--kubelet-client-certificate={}",
                file("apiserver-kubelet-client.crt")
            ),
            format!(
                "--kubelet-client-key={}",
                file("apiserver-kubelet-client.key")
            ),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP,Hostname".to_owned(),
            format!(
                "--requestheader-client-ca-file={}",
                file("front-proxy-ca.crt")
            ),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            format!(
                "--proxy-client-cert-file={}",
                file("front-proxy-client.crt")
            ),
            format!("--proxy-client-key-file={}", file("front-proxy-client.key")),
            "--enable-aggregator-routing=true".to_owned(),
        ]);
        argv
    }

    fn controller_manager(&self) -> Vec<String> {
        let pki = self.dir.pki();
        let file = |name: &str| pki::file(&pki, name);
        let mut argv = self.with_kubeconfig(CONTROLLERS[0]);
        argv.extend([
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            "--allocate-node-cidrs=false".to_owned(),
            format!("--node-monitor-grace-period={SILENCE}"),
        ]);
        argv
    }

    fn with_kubeconfig(&self, name: &str) -> Vec<String> {
        let kubeconfig = self.kubeconfig(name).display().to_string();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ]
    }

    fn kubeconfig(&self, name: &str) -> PathBuf {
        self.dir.pki().join(format!("{name}.kubeconfig"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.file("log").join(format!("{name}.log"))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.file("pids").join(name)
    }
}
