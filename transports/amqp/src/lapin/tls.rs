//! TLS over a socket, by rustls. Chain and host name of the broker's certificate are verified, always.

use std::io;
use std::sync::Arc;

use futures_rustls::TlsConnector;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::pem::PemObject;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::{self, ClientConfig, RootCertStore};
use kombu_core::{Error, ErrorKind, Result, Scope};

use super::dial::not_trusted;
use super::error::lost;
use super::socket::Socket;
use super::stream::WireStream;
use crate::options::TlsOptions;

/// Encrypts `socket`, whose other end must prove that it is `host`, or what the options say instead.
///
/// # Errors
///
/// `AccessRefused` when it cannot prove it or refuses our certificate, `InvalidArgument` for files that cannot be used.
pub(super) async fn secure(tls: &TlsOptions, host: &str, socket: Socket) -> Result<WireStream> {
    let host = tls.server_hostname.as_deref().unwrap_or(host);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| invalid("server_hostname", format_args!("`{host}` is no host name")))?;
    let connector = TlsConnector::from(Arc::new(config(tls)?));
    match connector.connect(name, socket).await {
        Ok(stream) => Ok(WireStream::Tls(Box::new(stream))),
        Err(error) => Err(refused(&error)),
    }
}

fn config(tls: &TlsOptions) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(not_trusted)?
        .with_root_certificates(roots(tls)?);
    match (&tls.certfile, &tls.keyfile) {
        (Some(certfile), Some(keyfile)) => {
            let key = PrivateKeyDer::from_pem_file(keyfile).map_err(|error| unreadable("keyfile", keyfile, error))?;
            builder
                .with_client_auth_cert(certificates("certfile", certfile)?, key)
                .map_err(|error| unreadable("certfile", certfile, error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Whom to trust: the named authorities alone, or those of the system.
fn roots(tls: &TlsOptions) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &tls.ca_certs {
        for certificate in certificates("ca_certs", path)? {
            roots.add(certificate).map_err(|error| unreadable("ca_certs", path, error))?;
        }
        return Ok(roots);
    }
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(not_trusted("the system trusts no authority; name one in `ca_certs`"));
    }
    Ok(roots)
}

fn certificates(option: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(option, path, error))?;
    if certificates.is_empty() {
        return Err(unreadable(option, path, "it holds no certificate"));
    }
    Ok(certificates)
}

/// A handshake that failed for what one end thinks of the other's certificate is no lost connection.
fn refused(error: &io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(cause @ rustls::Error::InvalidMessage(_)) => {
            not_trusted(format_args!("{cause}; the port may not be one for TLS"))
        }
        Some(cause) => not_trusted(cause),
        None => lost(format!("TLS: {error}")),
    }
}

fn unreadable(option: &'static str, path: &str, why: impl std::fmt::Display) -> Error {
    invalid(option, format_args!("`{path}` cannot be used: {why}"))
}

fn invalid(option: &'static str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("the option `{option}` of the amqp transport: {what}"))
        .with("option", option)
        .in_scope(Scope::Connection)
}
