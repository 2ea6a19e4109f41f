//! Whom a client trusts, and who it says it is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kombu_core::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::invalid;
use crate::options::{TlsOptions, Verify};

/// Reads what the options name. Blocks.
///
/// # Errors
///
/// `InvalidArgument` for a file that cannot be read or used.
pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match options.only_tls13 {
        true => &[&rustls::version::TLS13],
        false => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| invalid(format!("TLS cannot be set up: {error}")))?;
    let builder = match options.verify {
        Verify::Full => builder.with_root_certificates(roots(options)?),
        Verify::Certificate => {
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(options)?), provider)
                .build()
                .map_err(|error| invalid(format!("the trusted authorities cannot be used: {error}")))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(inner)))
        }
        Verify::Nothing => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    let Some(certfile) = &options.certfile else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("ssl_certfile", certfile)?;
    let (name, keyfile) = match &options.keyfile {
        Some(keyfile) => ("ssl_keyfile", keyfile),
        None => ("ssl_certfile", certfile),
    };
    let key = PrivateKeyDer::from_pem_slice(&file(name, keyfile)?)
        .map_err(|_| unusable(name, keyfile, "it holds no private key in PEM, or an encrypted one"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(name, keyfile, format_args!("the certificate and its key are not accepted: {error}")))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let mut own = false;
    if let Some(path) = &options.ca_certs {
        own = true;
        for one in certificates("ssl_ca_certs", path)? {
            store.add(one).map_err(|error| unusable("ssl_ca_certs", path, error))?;
        }
    }
    if let Some(path) = &options.ca_path {
        own = true;
        let listed = fs::read_dir(path).map_err(|error| unusable("ssl_ca_path", path, error))?;
        // As in OpenSSL, what is there beside certificates does no harm.
        for one in listed.flatten().filter_map(|entry| certificates("ssl_ca_path", &entry.path()).ok()).flatten() {
            let _ = store.add(one);
        }
        if store.is_empty() {
            return Err(unusable("ssl_ca_path", path, "it holds no certificate in PEM"));
        }
    }
    if let Some(data) = &options.ca_data {
        own = true;
        let error = |why: String| {
            Error::new(ErrorKind::InvalidArgument, format!("the option `ssl_ca_data` cannot be used: {why}"))
                .with("option", "ssl_ca_data")
        };
        let mut found = 0;
        for one in CertificateDer::pem_slice_iter(data.as_bytes()) {
            let one = one.map_err(|_| error("it is no PEM".to_owned()))?;
            store.add(one).map_err(|why| error(why.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(error("it holds no certificate in PEM".to_owned()));
        }
    }
    if !own {
        let system = rustls_native_certs::load_native_certs();
        let (added, _) = store.add_parsable_certificates(system.certs);
        if added == 0 {
            return Err(invalid(
                "the system has no trusted authorities; name yours by the option `ssl_ca_certs`".to_owned(),
            ));
        }
    }
    Ok(store)
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = file(option, path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(unusable(option, path, "it holds no certificate in PEM")),
    }
}

fn file(option: &'static str, path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| unusable(option, path, error))
}

fn unusable(option: &'static str, path: &Path, why: impl std::fmt::Display) -> Error {
    let message = format!("the option `{option}`, `{}`, cannot be used: {why}", path.display());
    Error::new(ErrorKind::InvalidArgument, message).with("option", option)
}

/// Verifies everything but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        // The name is looked at last, when all the rest is found to be in order.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Trusts whoever has the key of the certificate shown: `ssl_cert_reqs=none`.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
