//! An API server alone: etcd and kube-apiserver on loopback, no nodes and no
//! controllers. Ready in a few seconds, gone when dropped or when the test process ends.
//!
//! Nothing collects garbage and no ServiceAccount is made for a namespace, since
//! the controller-manager does that.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::command::{Cmd, Output};
use crate::error::{Context, Error, Result, make_dir, write_private_file};
use crate::keeper::Keeper;
use crate::process::ProcessId;
use crate::{pki, tools, wait};

const READY_LIMIT: Duration = Duration::from_secs(60);
const DIRECTORY_PREFIX: &str = "weft-apiserver-";

/// A running API server with a store of its own.
pub struct ApiServer {
    // Before the directory, so that the processes end before it goes.
    keeper: Keeper,
    dir: OwnedDir,
    ports: Ports,
}

#[derive(Clone, Copy)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api: u16,
}

impl ApiServer {
    /// Starts one and waits until it is ready. Several can run at once.
    pub async fn start() -> Result<Self> {
        let mut tries = 3;
        loop {
            // Another process may take a free port before we bind it.
            match Self::start_once().await {
                Err(Error::State(text)) if tries > 1 && text.contains("address already in use") => {
                    tries -= 1
                }
                outcome => return outcome,
            }
        }
    }

    async fn start_once() -> Result<Self> {
        let dir = OwnedDir::make()?;
        let ports = Ports::free()?;
        let server = Self {
            keeper: Keeper::new(),
            dir,
            ports,
        };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let authority = pki::save_control_plane(server.path(), &[loopback])?;
        let admin = authority.client("admin", &["system:masters"])?;
        let text = pki::kubeconfig("apiserver", &server.url(), authority.certificate(), &admin);
        write_private_file(server.kubeconfig(), text)?;
        server.start_etcd()?;
        server.start_api()?;
        server.ready().await?;
        Ok(server)
    }

    /// The kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path().join("kubeconfig")
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// A client that may do everything. Make one per test: a client belongs to the
    /// runtime that it was first used in.
    pub async fn client(&self) -> Result<Client> {
        client_from(&self.kubeconfig()).await
    }

    /// A client that acts as another user, by impersonation: for tests of RBAC. A
    /// ServiceAccount is the user `system:serviceaccount:NAMESPACE:NAME`.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let mut config = config_from(&self.kubeconfig()).await?;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups =
            Some(groups.iter().map(|&group| group.to_owned()).collect());
        Client::try_from(config).doing(|| format!("make a client for {user}"))
    }

    /// Runs kubectl against it.
    pub async fn kubectl<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        Cmd::new(tools::built("kubectl")?)
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .run()
            .await
    }

    /// Applies manifests with kubectl.
    pub async fn apply(&self, manifests: &str) -> Result<Output> {
        let kubectl = Cmd::new(tools::built("kubectl")?).args(["apply", "-f", "-"]);
        kubectl
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(manifests)
            .run()
            .await
    }

    /// Kills the API server; what it stored stays. Connections break.
    pub fn stop(&self) -> Result<()> {
        self.keeper.stop("kube-apiserver")
    }

    /// Starts it again after [`ApiServer::stop`] at the same address, and waits until it is ready.
    pub async fn resume(&self) -> Result<()> {
        self.start_api()?;
        self.ready().await
    }

    async fn ready(&self) -> Result<()> {
        wait::until("the API server to be ready", READY_LIMIT, async || {
            let healthy = async {
                let client = self.client().await?;
                let request = http_get("/readyz")?;
                client
                    .request_text(request)
                    .await
                    .doing(|| "get /readyz".to_owned())
            };
            for name in ["etcd", "kube-apiserver"] {
                if !self.keeper.running(name) {
                    return Ok(Err(Error::State(format!(
                        "{name} ended: {}",
                        self.last_words(name)
                    ))));
                }
            }
            healthy.await.map(|_| Ok(()))
        })
        .await?
    }

    fn start_etcd(&self) -> Result<()> {
        let argv = etcd_arguments(
            &self.path().join("etcd"),
            self.ports.etcd,
            self.ports.etcd_peer,
        )?;
        self.keeper.start("etcd", argv, self.log("etcd"))
    }

    fn start_api(&self) -> Result<()> {
        let dir = self.path();
        let mut argv = vec![tools::built("kube-apiserver")?.display().to_string()];
        argv.extend(api_server_arguments(dir, self.ports.etcd));
        argv.extend([
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.api),
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        ]);
        self.keeper
            .start("kube-apiserver", argv, self.log("kube-apiserver"))
    }

    fn path(&self) -> &Path {
        &self.dir.0
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    fn last_words(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// etcd's command line for a store that need not survive the machine.
pub(crate) fn etcd_arguments(data: &Path, client_port: u16, peer_port: u16) -> Result<Vec<String>> {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    Ok(vec![
        tools::installed("etcd")?.display().to_string(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
    ])
}

/// What every kube-apiserver of the testbed is told, given the directory of its
/// certificates and the port of its etcd.
pub(crate) fn api_server_arguments(pki: &Path, etcd_port: u16) -> Vec<String> {
    let file = |name: &str| pki::file(pki, name);
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ]
}

/// A client of whatever cluster a kubeconfig names.
pub(crate) async fn client_from(kubeconfig: &Path) -> Result<Client> {
    let config = config_from(kubeconfig).await?;
    Client::try_from(config).doing(|| format!("make a client from {}", kubeconfig.display()))
}

/// A GET of a path of the API.
pub(crate) fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| Error::State(format!("GET {path}: {error}")))
}

async fn config_from(kubeconfig: &Path) -> Result<Config> {
    let problem = |error| Error::State(format!("kubeconfig {}: {error}", kubeconfig.display()));
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(problem)?;
    Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(problem)
}

impl Ports {
    fn free() -> Result<Self> {
        let bind =
            || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(|| "find a free port".to_owned());
        // All three are held at once, so that they differ.
        let held = [bind()?, bind()?, bind()?];
        let port = |n: usize| {
            held[n]
                .local_addr()
                .map(|a| a.port())
                .doing(|| "find a free port".to_owned())
        };
        Ok(Self {
            etcd: port(0)?,
            etcd_peer: port(1)?,
            api: port(2)?,
        })
    }
}

/// A directory that is removed with its owner, or by the next run if the owner was killed.
struct OwnedDir(PathBuf);

impl OwnedDir {
    fn make() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self::sweep();
        let owner = ProcessId::of(std::process::id() as i32).ok_or_else(|| {
            Error::State("this process is not in /proc: is /proc mounted?".to_owned())
        })?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{DIRECTORY_PREFIX}{}-{}-{number}",
            owner.pid, owner.start_time
        );
        let path = std::env::temp_dir().join(name);
        make_dir(&path)?;
        Ok(Self(path))
    }

    fn sweep() {
        for entry in std::fs::read_dir(std::env::temp_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if Self::owner(&name).is_some_and(|owner| !owner.alive()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    fn owner(name: &str) -> Option<ProcessId> {
        let mut parts = name.strip_prefix(DIRECTORY_PREFIX)?.split('-');
        Some(ProcessId {
            pid: parts.next()?.parse().ok()?,
            start_time: parts.next()?.parse().ok()?,
        })
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
