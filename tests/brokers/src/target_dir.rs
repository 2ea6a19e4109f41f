//! Where built things that tests share are kept.

use std::env;
use std::path::{Path, PathBuf};

/// Returns cargo's target directory: the place for things that are made once and shared by all tests.
///
/// `CARGO_TARGET_DIR` if it is an absolute path; else the directory above the running executable that cargo has marked with
/// a `CACHEDIR.TAG`; else `target` in the workspace. Never a place that is under version control.
pub fn target_dir() -> PathBuf {
    if let Some(configured) = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return configured;
    }
    let executable = env::current_exe().unwrap_or_default();
    let marked = executable.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.map(Path::to_path_buf).unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}
