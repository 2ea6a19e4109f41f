//! The options of encrypted connections, by Kombu's names; with or without its prefix `ssl_`.

use kombu_core::{Error, ErrorKind, Result};

use super::take::Taker;
use super::{invalid, unsupported};

/// How to encrypt. The broker's certificate and host name are always verified.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "read to be refused"))]
pub(crate) struct TlsOptions {
    /// A file of PEM certificates to trust instead of the system's.
    pub(crate) ca_certs: Option<String>,
    /// A file with the client's own PEM certificate and those that lead to its authority.
    pub(crate) certfile: Option<String>,
    /// A file with the PEM key of that certificate.
    pub(crate) keyfile: Option<String>,
    /// The name the broker's certificate must have; default the URL's host.
    pub(crate) server_hostname: Option<String>,
}

pub(super) const NAMES: &[&str] = &[
    "ssl",
    "ca_certs",
    "ssl_ca_certs",
    "certfile",
    "ssl_certfile",
    "keyfile",
    "ssl_keyfile",
    "server_hostname",
    "ssl_server_hostname",
    "cert_reqs",
    "ssl_cert_reqs",
];

/// Reads them; `None` is clear text. A build without TLS refuses what asks for it.
pub(super) fn read(is_amqps: bool, options: &Taker<'_>, has_tls: bool) -> Result<Option<TlsOptions>> {
    let text = |name: &'static str, prefixed: &'static str| match options.optional_text(name)? {
        Some(text) => Ok(Some(text)),
        None => options.optional_text(prefixed),
    };
    let tls = TlsOptions {
        ca_certs: text("ca_certs", "ssl_ca_certs")?,
        certfile: text("certfile", "ssl_certfile")?,
        keyfile: text("keyfile", "ssl_keyfile")?,
        server_hostname: text("server_hostname", "ssl_server_hostname")?,
    };
    let asked = options.flag("ssl")?;
    let has_details =
        [&tls.ca_certs, &tls.certfile, &tls.keyfile, &tls.server_hostname].iter().any(|each| each.is_some());
    if !is_amqps && asked != Some(true) && !has_details {
        return Ok(None);
    }
    if asked == Some(false) {
        return Err(invalid("ssl", "is false, but the URL or another option asks for TLS"));
    }
    if !has_tls {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this program is built without TLS, and credentials and messages are not sent in clear text instead: \
             build it with the feature `amqp-tls` of `kombu`, or `tls` of `kombu-amqp`",
        ));
    }
    if let Some(reqs) = text("cert_reqs", "ssl_cert_reqs")?
        && !reqs.to_ascii_lowercase().ends_with("required")
    {
        return Err(unsupported(
            "cert_reqs",
            "the broker's certificate is always verified; name its authority in `ca_certs`",
        ));
    }
    if tls.certfile.is_some() != tls.keyfile.is_some() {
        return Err(invalid("certfile", "goes together with `keyfile`"));
    }
    Ok(Some(tls))
}
