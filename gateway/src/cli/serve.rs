//! `weir serve`: a gateway until Ctrl-C or SIGTERM.

use super::{CliError, CliResult, output::block_on};
use crate::{
    config::{Backend, Config},
    error::{Error, chain},
    server::Server,
    shutdown,
};
use std::{io::Write, net::SocketAddr, path::PathBuf};

/// Run a gateway until Ctrl-C or SIGTERM
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A TOML file; flags win over what it says.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where log, checkpoints and state are kept [default: weir-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where working state lives [default: redb].
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Address of the gRPC services; port 0 takes a free one [default: 127.0.0.1:7400].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// A CSV or JSONL file of items: item, category, name.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> CliResult {
    super::output::log_to_stderr("info");
    let mut config = match &args.config {
        Some(path) => Config::load(path).map_err(|error| CliError::Usage(chain(&error)))?,
        None => Config::default(),
    };
    if let Some(dir) = args.data_dir {
        config.data_dir = dir;
    }
    if let Some(backend) = args.backend {
        config.backend = backend;
    }
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(file) = args.catalog {
        config.catalog.file = Some(file);
    }
    block_on(async {
        let (dir, backend) = (config.data_dir.clone(), config.backend);
        // Before the start, which may take a while: a signal then ends it as soon as it is over.
        let stop = shutdown::requested().map_err(Error::io("listen for", "signals"))?;
        let server = Server::start(config).await?;
        // For scripts that start it on port 0; where nobody reads it, it serves all the same.
        let _unread = writeln!(
            std::io::stdout(),
            "listening on http://{}",
            server.address()
        );
        tracing::info!(address = %server.address(), data_dir = %dir.display(), %backend, "weir is up");
        server.run_until(stop).await?;
        tracing::info!("stopped in good order");
        Ok(())
    })
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::Config(_) => Self::Usage(error.to_string()),
            Error::Unreachable { .. } => Self::TimedOut(chain(&error)),
            Error::Refused(status) => Self::from(*status),
            other => Self::Failed(chain(&other)),
        }
    }
}
