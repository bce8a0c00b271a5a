//! The real `weir` binary as a child process.

use gateway::proto::v1::{GetStatusRequest, Status, admin_client::AdminClient};
use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::time::Instant;

/// The binary: `WEIR_BIN`, or else the one of this profile, built where it has to be.
///
/// # Errors
/// It cannot be built.
pub fn binary() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os("WEIR_BIN") {
        return Ok(path.into());
    }
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--package", "gateway", "--bin", "weir"]);
    if cfg!(feature = "s3") {
        build.args(["--features", "s3"]);
    }
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    build.arg("--manifest-path").arg(manifest);
    if !build.status()?.success() {
        return Err(io::Error::other("cannot build weir"));
    }
    // target/PROFILE/crash, or target/PROFILE/deps/e2e-HASH.
    let me = env::current_exe()?;
    me.ancestors()
        .skip(1)
        .map(|dir| dir.join(format!("weir{}", env::consts::EXE_SUFFIX)))
        .find(|path| path.exists())
        .ok_or_else(|| io::Error::other("weir was built elsewhere: set WEIR_BIN"))
}

/// A port that is free now.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

/// A gateway process; killed when dropped.
#[derive(Debug)]
pub struct Weir {
    child: Child,
    address: String,
}

impl Weir {
    /// Starts `weir serve` with a configuration file on a port.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn serve(binary: &Path, config: &Path, port: u16) -> io::Result<Self> {
        Self::serve_with(binary, config, port, &[])
    }

    /// The same with more variables in its environment.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn serve_with(
        binary: &Path,
        config: &Path,
        port: u16,
        variables: &[(&str, &str)],
    ) -> io::Result<Self> {
        let child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(config)
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .env(
                "WEIR_LOG",
                env::var("WEIR_LOG").unwrap_or_else(|_| "error".to_owned()),
            )
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            address: format!("http://127.0.0.1:{port}"),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until it answers, which it does once its state is restored, and has read its log again
    /// from there; how it is doing then.
    ///
    /// # Errors
    /// It ended, or did not answer in time.
    pub async fn ready(&mut self, at_most: Duration) -> io::Result<Status> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("weir ended by itself: {status}")));
            }
            match self.status().await {
                Ok(status)
                    if status.processed_position
                        >= status.log.as_ref().map_or(0, |log| log.end_position) =>
                {
                    return Ok(status);
                }
                Ok(_) if started.elapsed() > at_most => {
                    return Err(io::Error::other(
                        "weir did not catch up with its log in time",
                    ));
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) if started.elapsed() > at_most => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// How it is doing.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> io::Result<Status> {
        let mut client = AdminClient::connect(self.address.clone())
            .await
            .map_err(io::Error::other)?;
        let status = client
            .get_status(GetStatusRequest {})
            .await
            .map_err(io::Error::other)?;
        Ok(status.into_inner())
    }

    /// Kills it as nothing can be killed more (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Asks it to stop (SIGTERM) and waits for its end; kills it after `at_most`.
    ///
    /// # Errors
    /// It did not stop in time, or the signal cannot be sent.
    pub async fn terminate(mut self, at_most: Duration) -> io::Result<ExitStatus> {
        let pid = self.child.id().to_string();
        if !Command::new("kill")
            .args(["-TERM", &pid])
            .status()?
            .success()
        {
            return Err(io::Error::other("cannot send SIGTERM"));
        }
        let started = Instant::now();
        while started.elapsed() < at_most {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(io::Error::other("weir did not stop in time"))
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
