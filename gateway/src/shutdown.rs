//! When to stop.

/// Ready at the first Ctrl-C or SIGTERM. A second one ends the process at once, with exit code 130:
/// whoever asks twice does not want to wait.
pub async fn requested() {
    one().await;
    tokio::spawn(async {
        one().await;
        eprintln!("weir: ended at once; the next start goes on from the log");
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn one() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM");
            let _interrupted = tokio::signal::ctrl_c().await;
        }
    }
}

#[cfg(not(unix))]
async fn one() {
    let _interrupted = tokio::signal::ctrl_c().await;
}
