//! Child processes that cannot outlive the test.

use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The end of a pipe whose closing kills a process group with `kill -9`.
///
/// A child is started through `sh`, which leaves a guard behind and then *becomes* the program (`exec`), so the process
/// identifier is the program's own. The guard waits on the other end of the pipe: when this value is dropped, or the test
/// process dies in whatever way, the pipe closes and the guard kills the whole group, itself included. The guard is a
/// member of that group for as long as it waits, so the group's number cannot be given to anybody else in the meantime.
///
/// What is worth nothing without the program can go with it: a folder given to [`spawn_in`](Leash::spawn_in) is removed by
/// the guard once the program is gone, also when nobody is left to drop its `TempDir`.
///
/// The pipe travels as the child's descriptor 2, the only spare one that `std` can hand over without `unsafe`; `sh` moves
/// it away and points descriptor 2 at the log file before the program starts.
#[derive(Debug)]
pub(crate) struct Leash {
    _pipe: PipeWriter,
}

impl Leash {
    /// Starts `program` with `arguments`; whatever `prepare` sets on the command (directory, environment, input, output)
    /// holds for it. Descriptor 2 is appended to `log`.
    pub(crate) fn spawn(
        program: &Path,
        arguments: &[OsString],
        log: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<(Child, Leash)> {
        Self::spawn_in(Path::new(""), program, arguments, log, prepare)
    }

    /// As [`spawn`](Leash::spawn), with a folder to remove at the end.
    pub(crate) fn spawn_in(
        folder: &Path,
        program: &Path,
        arguments: &[OsString],
        log: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<(Child, Leash)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("sh");
        prepare(&mut command);
        command.arg("-c").arg(GUARD_THEN_EXEC).arg(log).arg(folder).arg(program).args(arguments);
        command.stderr(Stdio::from(reader)).process_group(0);
        let child = command.spawn()?;
        Ok((child, Leash { _pipe: writer }))
    }
}

/// Sends the signal called `name` (`STOP`, `CONT`, `TERM`) to `pid`, by the shell's own `kill`.
pub(crate) fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("no process {pid} to send {name} to"))) }
}

// The guard runs in the background of a subshell that ends at once: it is nobody's child, so a program that waits for its
// own children never meets it. Its output is closed, so the program's end is the end of the program's output. The group of
// which it is the last member keeps the program's number from being given to another process, so `$$` may be killed by it. A
// dying program may still write; the removal is tried again until it holds, for a few seconds.
const GUARD_THEN_EXEC: &str = r#"
exec 3<&2 2>>"$0"
folder=$1
shift
( {
    read -r _
    if [ -n "$folder" ]; then
        kill -s KILL $$
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            rm -rf "$folder"
            [ -e "$folder" ] || break
            sleep 0.3
        done
    fi
    kill -s KILL -- -$$
} <&3 3<&- >/dev/null 2>&1 & )
exec "$@" 3<&-
"#;
