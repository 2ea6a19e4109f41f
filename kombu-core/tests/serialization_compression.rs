//! Compressed bodies come back whole, and never larger than allowed.
#![cfg(feature = "compression")]

#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use kombu_core::compression::{Compressor, DEFAULT_LIMIT, compress, decompress, names, register};
use kombu_core::{ErrorKind, Result};
use random::Random;

const METHODS: [&str; 5] = ["gzip", "bzip2", "lzma", "zstd", "brotli"];

#[test]
fn every_name_goes_both_ways() {
    let mut random = Random::new(5);
    for method in METHODS {
        for body in [vec![], b"a".to_vec(), random.bytes(10_000), vec![b'x'; 1 << 18]] {
            let (header, compressed) = compress(method, &body).unwrap();
            assert_eq!(decompress(method, &compressed, DEFAULT_LIMIT).unwrap(), body, "{method}");
            assert_eq!(decompress(&header, &compressed, body.len()).unwrap(), body, "{method}");
        }
    }
}

#[test]
fn every_alias_means_the_same() {
    for (method, alias) in METHODS.iter().zip(["zlib", "bzip", "xz", "zstandard", "application/x-brotli"]) {
        assert_eq!(compress(alias, b"a").unwrap(), compress(method, b"a").unwrap());
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let body = vec![0; 1 << 20];
    for method in METHODS {
        let (_, bomb) = compress(method, &body).unwrap();
        assert!(bomb.len() < body.len() / 50);
        for limit in [0, 1000, body.len() - 1] {
            let error = decompress(method, &bomb, limit).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.to_string().contains(&format!("the limit of {limit} bytes")), "{error}");
        }
    }
}

#[test]
fn damaged_bodies_are_refused_and_never_panic() {
    let mut random = Random::new(6);
    for method in METHODS {
        let (_, compressed) = compress(method, b"to be or not to be, that is the question").unwrap();
        for length in 0..compressed.len() {
            let error = decompress(method, &compressed[..length], DEFAULT_LIMIT);
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Decode, "{method} cut to {length}");
        }
        for _ in 0..200 {
            let mut damaged = compressed.to_vec();
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
            let _ = decompress(method, &damaged, 1 << 20);
            let _ = decompress(method, &random.bytes(60), 1 << 20);
        }
    }
    let gzip_file = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00\x43\xbe\xb7\xe8\x01\x00\x00\x00";
    assert_eq!(decompress("gzip", gzip_file, 100).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn zstd_frames_tell_their_size() {
    let (_, body) = compress("zstd", &[b'x'; 100]).unwrap();
    assert_eq!(&body[..6], b"\x28\xb5\x2f\xfd\x20\x64");
}

#[test]
fn an_unknown_method_lists_the_known() {
    let error = compress("bz2", b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().starts_with("unknown compression `bz2`; known: application/"), "{error}");
    assert_eq!(decompress("bz2", b"", 1).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_method_of_ones_own_can_be_added() {
    struct Identity;
    impl Compressor for Identity {
        fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
            Ok(body.to_vec())
        }

        fn decompress(&self, body: &[u8], _: usize) -> Result<Vec<u8>> {
            Ok(body.to_vec())
        }
    }
    register("application/x-identity", ["identity"], Arc::new(Identity));
    assert_eq!(compress("identity", b"a").unwrap().0, "application/x-identity");
    assert_eq!(decompress("application/x-identity", b"a", 1).unwrap(), "a");
    assert!(names().iter().any(|name| *name == "identity"));
}
