use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::unistd::Pid;

use crate::binaries;

/// A child that waits for a lock which this process holds, and so acts when this process is gone, however it went.
///
/// Dropping it calls it off.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It waits in the kernel and holds nothing: killing it is clean, and if it is gone there is nothing to call off.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills processes that cannot act on a death signal.
pub(crate) fn kill_when_this_process_ends(lock_file: &Path, pids: &[Pid]) -> Option<Guard> {
    let pids = pids.iter().map(|pid| OsString::from(pid.to_string()));
    let arguments = [OsString::from("-KILL")].into_iter().chain(pids);
    guard(lock_file, "kill", arguments.collect()).map(Guard)
}

/// Removes a directory after this process, which must hold the lock of `lock_file` until its end.
pub fn remove_when_this_process_ends(lock_file: &Path, dir: &Path) {
    // Left to itself: it ends when it has done its work, and there is nobody to wait for it then.
    drop(guard(
        lock_file,
        "rm",
        vec!["-rf".into(), "--".into(), dir.into()],
    ));
}

/// `None` where the system has no `flock`: then only an orderly end cleans up.
fn guard(lock_file: &Path, program: &'static str, arguments: Vec<OsString>) -> Option<Child> {
    let flock = binaries::required("flock", "install util-linux").ok()?;
    let program = binaries::required(program, "install your system's base utilities").ok()?;
    let mut command = Command::new(flock);
    command.arg(lock_file).arg(program).args(arguments);
    command
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().ok()
}
