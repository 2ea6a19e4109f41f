//! Finding the programs tests need.

use std::env;
use std::path::{Path, PathBuf};

use crate::setup_error::SetupError;

/// Returns the full path of `name`, looked up in `PATH` unless it is a path itself.
///
/// # Errors
///
/// A [`SetupError`] that names the program and gives `advice`.
pub(crate) fn find_program(name: &str, advice: &str) -> Result<PathBuf, SetupError> {
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(|path| is_executable(path))
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_executable(path))
    };
    found.ok_or_else(|| SetupError::new(format!("`{name}` is not installed; {advice}")))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
