//! Certificates made for one test.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A certificate authority of one test's own, that nobody else trusts.
///
/// # Example
///
/// ```
/// use kombu_brokers::CertificateAuthority;
///
/// let authority = CertificateAuthority::new("Test Authority");
/// let server = authority.server(&["localhost", "127.0.0.1"]);
/// assert!(server.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
/// assert!(server.key().starts_with("-----BEGIN PRIVATE KEY-----"));
/// ```
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: String,
    key: String,
}

impl CertificateAuthority {
    /// Makes an authority whose common name is `name`.
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, new_key()).expect("the parameters above are in order");
        CertificateAuthority(issuer)
    }

    /// Returns the authority's own certificate, in PEM: what a client or server is told to trust.
    pub fn certificate(&self) -> String {
        self.0.as_ref().pem()
    }

    /// Writes the authority's own certificate to `folder` as `<name>.pem` and returns its path.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, &format!("{name}.pem"), &self.certificate())
    }

    /// Makes the certificate of a server that is reached by these `hosts`: names and addresses.
    ///
    /// # Panics
    ///
    /// When a name cannot be one of a host.
    pub fn server(&self, hosts: &[&str]) -> Identity {
        self.issue(params(hosts.first().copied().unwrap_or("server"), hosts), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes the certificate of a client whose common name is `name`.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(params(name, &[]), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = new_key();
        let certificate = params.signed_by(&key, &self.0).expect("the parameters above are in order");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateAuthority")
    }
}

impl Identity {
    /// Returns the certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the private key, in PEM (PKCS #8).
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Writes `<name>.pem` and `<name>.key` to `folder` and returns their paths.
    ///
    /// # Panics
    ///
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        (write(folder, &format!("{name}.pem"), &self.certificate), write(folder, &format!("{name}.key"), &self.key))
    }
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("the names of hosts are in order");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system has random numbers")
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}
