//! Certificates: authorities, what they sign, and kubeconfig files made of them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::error::{Error, Result, read_file, write_file, write_private_file};

/// A certificate authority: a name and a key. The same two give the same issuer
/// again, so an authority can be read back to sign for a node that comes later.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: String,
}

/// A certificate and its key, both as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// Makes a new authority.
    pub fn new(name: &str) -> Result<Self> {
        let failed = |source| Error::Certificate {
            name: name.to_owned(),
            source,
        };
        let params = Self::params(name);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            params,
            key,
            certificate,
        })
    }

    /// Reads an authority that [`Authority::save`] wrote.
    pub fn load(dir: &Path, name: &str) -> Result<Self> {
        let certificate = read_file(dir.join(format!("{name}.crt")))?;
        let key =
            KeyPair::from_pem(&read_file(dir.join(format!("{name}.key")))?).map_err(|source| {
                Error::Certificate {
                    name: name.to_owned(),
                    source,
                }
            })?;
        Ok(Self {
            params: Self::params(name),
            key,
            certificate,
        })
    }

    /// Writes NAME.crt and NAME.key.
    pub fn save(&self, dir: &Path, name: &str) -> Result<()> {
        Identity {
            certificate: self.certificate.clone(),
            key: self.key.serialize_pem(),
        }
        .save(dir, name)
    }

    /// Its own certificate as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs a certificate for a client: a user with groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        self.sign(user, groups, ExtendedKeyUsagePurpose::ClientAuth, &[], &[])
    }

    /// Signs a certificate for a server that is known by these names and addresses.
    pub fn server(&self, name: &str, names: &[String], addresses: &[IpAddr]) -> Result<Identity> {
        self.sign(
            name,
            &[],
            ExtendedKeyUsagePurpose::ServerAuth,
            names,
            addresses,
        )
    }

    fn sign(
        &self,
        name: &str,
        groups: &[&str],
        purpose: ExtendedKeyUsagePurpose,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Identity> {
        let failed = |source| Error::Certificate {
            name: name.to_owned(),
            source,
        };
        let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
        params
            .subject_alt_names
            .extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        params.distinguished_name = distinguished(name, groups);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
    }
}

impl Identity {
    /// Writes NAME.crt and NAME.key.
    pub fn save(&self, dir: &Path, name: &str) -> Result<()> {
        write_file(dir.join(format!("{name}.crt")), &self.certificate)?;
        write_private_file(dir.join(format!("{name}.key")), &self.key)
    }
}

/// Makes the key pair that service-account tokens are signed with: sa.key and sa.pub.
pub fn save_service_account_key(dir: &Path) -> Result<()> {
    let key = KeyPair::generate().map_err(|source| Error::Certificate {
        name: "sa".to_owned(),
        source,
    })?;
    write_private_file(dir.join("sa.key"), key.serialize_pem())?;
    write_file(dir.join("sa.pub"), key.public_key_pem())
}

/// The text of a kubeconfig that holds all it needs, so that it can be copied anywhere.
pub fn kubeconfig(cluster: &str, server: &str, authority: &str, identity: &Identity) -> String {
    let base64 = |pem: &str| json!(ByteString(pem.as_bytes().to_vec()));
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": base64(authority),
        }}],
        "users": [{"name": cluster, "user": {
            "client-certificate-data": base64(&identity.certificate),
            "client-key-data": base64(&identity.key),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
    });
    format!("{text:#}\n")
}

/// The names that pods and people use for the API server.
pub fn api_server_names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    for suffix in ["", ".default", ".default.svc", ".default.svc.cluster.local"] {
        names.push(format!("kubernetes{suffix}"));
    }
    names
}

/// Writes all that a control plane needs into a directory, and returns its authority.
/// `addresses` are those at which the API server is reached.
pub fn save_control_plane(dir: &Path, addresses: &[IpAddr]) -> Result<Authority> {
    let authority = Authority::new("ca")?;
    authority.save(dir, "ca")?;
    authority
        .server("kube-apiserver", &api_server_names(), addresses)?
        .save(dir, "apiserver")?;
    authority
        .client("apiserver-kubelet-client", &["system:masters"])?
        .save(dir, "apiserver-kubelet-client")?;
    let front_proxy = Authority::new("front-proxy-ca")?;
    front_proxy.save(dir, "front-proxy-ca")?;
    front_proxy
        .client("front-proxy-client", &[])?
        .save(dir, "front-proxy-client")?;
    save_service_account_key(dir)?;
    Ok(authority)
}

/// The path of a file in the directory of certificates, as an argument.
pub fn file(dir: &Path, name: &str) -> String {
    PathBuf::from(dir).join(name).display().to_string()
}

fn distinguished(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    for group in groups {
        distinguished.push(DnType::OrganizationName, *group);
    }
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_read_back_signs_as_the_same_one() {
        let dir = tempfile::tempdir().expect("directory");
        save_control_plane(dir.path(), &["127.0.0.1".parse().expect("address")]).expect("written");
        let again = Authority::load(dir.path(), "ca").expect("read");
        let late = again
            .server(
                "node9",
                &["node9".into()],
                &["fd00::9".parse().expect("address")],
            )
            .expect("signed");
        late.save(dir.path(), "late").expect("written");
        for leaf in ["apiserver.crt", "late.crt"] {
            let verified = std::process::Command::new("openssl")
                .args(["verify", "-CAfile"])
                .args([dir.path().join("ca.crt"), dir.path().join(leaf)])
                .output()
                .expect("openssl");
            assert!(
                verified.status.success(),
                "{}",
                String::from_utf8_lossy(&verified.stderr)
            );
        }
    }

    #[test]
    fn user_and_group_are_in_the_subject() {
        let authority = Authority::new("ca").expect("made");
        let node = authority
            .client("system:node:node1", &["system:nodes"])
            .expect("signed");
        let dir = tempfile::tempdir().expect("directory");
        node.save(dir.path(), "node").expect("written");
        let shown = std::process::Command::new("openssl")
            .args([
                "x509",
                "-noout",
                "-subject",
                "-ext",
                "extendedKeyUsage",
                "-in",
            ])
            .arg(dir.path().join("node.crt"))
            .output()
            .expect("openssl");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(
            shown.contains("O = system:nodes, CN = system:node:node1"),
            "{shown}"
        );
        assert!(shown.contains("TLS Web Client Authentication"), "{shown}");
    }

    #[test]
    fn a_kubeconfig_is_one_that_clients_read() {
        let authority = Authority::new("ca").expect("made");
        let admin = authority
            .client("admin", &["system:masters"])
            .expect("signed");
        let text = kubeconfig(
            "demo",
            "https://127.0.0.1:6443",
            authority.certificate(),
            &admin,
        );
        let parsed = kube::config::Kubeconfig::from_yaml(&text).expect("parses");
        assert_eq!(parsed.current_context.as_deref(), Some("demo"));
        let cluster = parsed.clusters[0].cluster.as_ref().expect("cluster");
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
    }
}
