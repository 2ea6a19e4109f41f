//! Kombu's `ssl` options, which are those of Python's `redis`.

use std::path::PathBuf;

use kombu_core::{FieldTable, Result, Value};

use super::Password;
use super::names::{self, invalid, unsupported};
use super::take::{self, Taker};

/// How a connection is encrypted, and whom it trusts.
///
/// By default a server must show a certificate for its name that leads to an authority the system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// A file of trusted authorities, in PEM, instead of the system's.
    pub(crate) ca_certs: Option<PathBuf>,
    /// A directory of such files.
    pub(crate) ca_path: Option<PathBuf>,
    /// Trusted authorities in PEM themselves.
    pub(crate) ca_data: Option<String>,
    /// The file of the client's certificate and what leads to its authority, in PEM.
    pub(crate) certfile: Option<PathBuf>,
    /// The file of the client's key, in PEM; default the certificate's.
    pub(crate) keyfile: Option<PathBuf>,
    /// What is verified.
    pub(crate) verify: Verify,
    /// Whether the protocol before TLS 1.3 is refused.
    pub(crate) only_tls13: bool,
}

/// What is verified of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Its certificate and that it is for the server's name.
    #[default]
    Full,
    /// Its certificate.
    Certificate,
    /// Nothing: whoever sits between may read and change everything.
    Nothing,
}

impl TlsOptions {
    /// Reads the options of `table`; `None` when they ask for no TLS. `always` is what the URL's scheme says.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a value that cannot be used, or options of TLS for a connection without; `Unsupported` for what
    /// cannot be had.
    pub(super) fn read(table: &FieldTable, always: bool) -> Result<Option<Self>> {
        let mut wanted = always;
        let mut merged = FieldTable::new();
        match table.get("ssl").filter(|value| !value.is_null()) {
            Some(Value::Map(inner)) => {
                wanted = true;
                for (name, value) in inner {
                    names::check_tls_name(name, &format!("ssl.{name}"))?;
                    merged.insert(name.clone(), value.clone());
                }
            }
            Some(value) => match take::flag(value) {
                Some(false) if always => return Err(invalid("ssl", "is false, and the URL asks for TLS")),
                Some(flag) => wanted |= flag,
                None => return Err(invalid("ssl", "is neither true, false nor a table of options")),
            },
            None => {}
        }
        for (name, value) in table.iter().filter(|(name, value)| name.starts_with("ssl_") && !value.is_null()) {
            merged.insert(name.clone(), value.clone());
        }
        if !wanted {
            return match merged.keys().next() {
                Some(name) => {
                    Err(invalid(name, "is about TLS, which the URL does not ask for: use `rediss://`, or `ssl=true`"))
                }
                None => Ok(None),
            };
        }
        Self::read_merged(&merged).map(Some)
    }

    fn read_merged(table: &FieldTable) -> Result<Self> {
        let options = &Taker(table);
        let mut tls = TlsOptions {
            ca_certs: options.path("ssl_ca_certs")?,
            ca_path: options.path("ssl_ca_path")?,
            certfile: options.path("ssl_certfile")?,
            keyfile: options.path("ssl_keyfile")?,
            ..TlsOptions::default()
        };
        options.optional_text("ssl_ca_data", &mut tls.ca_data)?;
        let mut requirement = Verify::Full;
        if let Some(value) = table.get("ssl_cert_reqs") {
            requirement = cert_reqs(value)
                .ok_or_else(|| invalid("ssl_cert_reqs", take::is_not("one of required, optional, none", value)))?;
        }
        let check_hostname = options.optional_flag("ssl_check_hostname")?;
        tls.verify = match (requirement, check_hostname) {
            (Verify::Full, Some(false)) => Verify::Certificate,
            (Verify::Nothing, Some(true)) => {
                return Err(invalid("ssl_check_hostname", "is true, and `ssl_cert_reqs` asks for no certificate"));
            }
            (requirement, _) => requirement,
        };
        if tls.keyfile.is_some() && tls.certfile.is_none() {
            return Err(invalid("ssl_keyfile", "is a key without its certificate: set `ssl_certfile`"));
        }
        let mut version = None;
        options.choice("ssl_min_version", MIN_VERSIONS, &mut version)?;
        tls.only_tls13 = version == Some(true);
        let mut password = String::new();
        options.secret("ssl_password", &mut password)?;
        if !Password::new(password).reveal().is_empty() {
            return Err(unsupported("ssl_password", &Value::Null, "a key must not be encrypted"));
        }
        Ok(tls)
    }
}

fn cert_reqs(value: &Value) -> Option<Verify> {
    // Python's names, and the numbers of its constants.
    match value {
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "required" | "cert_required" | "2" => Some(Verify::Full),
            // For a client, Python does the same for both.
            "optional" | "cert_optional" | "1" => Some(Verify::Full),
            "none" | "cert_none" | "0" => Some(Verify::Nothing),
            _ => None,
        },
        Value::Int(0) => Some(Verify::Nothing),
        Value::Int(1 | 2) => Some(Verify::Full),
        _ => None,
    }
}

const MIN_VERSIONS: &[(&str, Option<bool>)] = &[
    ("TLSv1", None),
    ("TLSv1_1", None),
    ("TLSv1.1", None),
    ("TLSv1_2", Some(false)),
    ("TLSv1.2", Some(false)),
    ("TLSv1_3", Some(true)),
    ("TLSv1.3", Some(true)),
];
