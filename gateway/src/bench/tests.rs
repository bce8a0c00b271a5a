//! The benchmark measures what it says: each backend does the work and comes out with figures, and
//! the page holds them without referring to anything outside.

use super::{
    config::{BackendName, Config, Distribution, Mix, parse_bytes, parse_count},
    histogram::Histogram,
    ids::Ids,
    page,
    report::{BackendReport, Report},
    run::{Progress, run},
};
use std::time::Duration;

fn config(distribution: Distribution) -> Config {
    Config {
        backends: vec![
            BackendName::HashTable,
            BackendName::Memory,
            BackendName::Fs,
            BackendName::Redb,
        ],
        keys: 5000,
        value_size: 100,
        distribution,
        ops: 20_000,
        mix: "read=45,update=50,scan=5".parse().unwrap(),
        budget_bytes: 16 << 20,
        checkpoint_every: Some(Duration::from_millis(5)),
    }
}

struct Silent;

impl Progress for Silent {
    fn pass(&mut self, _: &'static str, _: u64) {}
    fn done(&mut self, _: u64) {}
}

fn measure(config: &Config) -> Report {
    let measured = |backend: &BackendName| -> BackendReport {
        let dir = tempfile::tempdir().unwrap();
        run(config, *backend, dir.path(), &mut Silent).unwrap()
    };
    Report {
        weir_version: "0".to_owned(),
        machine: "a <machine>".to_owned(),
        command: "weir bench backends".to_owned(),
        config: config.clone(),
        backends: config.backends.iter().map(measured).collect(),
    }
}

#[test]
fn every_backend_comes_out_with_figures() {
    let report = measure(&config(Distribution::Zipf));
    for backend in &report.backends {
        let b = backend;
        for rate in [
            b.load_per_s,
            b.read_per_s,
            b.update_per_s,
            b.batch_update_per_s,
            b.scan_per_s,
            b.mix_per_s,
        ] {
            assert!(rate > 0.0 && rate.is_finite(), "{b:?}");
        }
        assert!(
            b.latency.p50_us > 0.0 && b.latency.p50_us <= b.latency.max_us,
            "{b:?}"
        );
        let is_store = b.backend != BackendName::HashTable;
        assert_eq!(b.restore_s.is_some(), is_store);
        assert_eq!(!b.checkpoints.is_empty(), is_store, "{b:?}");
        assert!(
            b.slices.count > 0 && b.slices.over_1_ms <= b.slices.count && b.idle.ms > 0.0,
            "{b:?}"
        );
        assert!(
            b.checkpoints.iter().all(|c| c.rows > 0 && c.bytes > 0),
            "{b:?}"
        );
    }
    let json = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(back.config, report.config);
    let html = page::page(&report);
    assert!(html.contains("<svg") && html.contains("redb") && html.contains("a &lt;machine&gt;"));
    // One file: nothing to be fetched. The namespace of SVG is a name, not an address.
    let rest = html.replace("xmlns='http://www.w3.org/2000/svg'", "");
    for reference in [
        "http:", "https:", "src=", "url(", "@import", "<script", "<link",
    ] {
        assert!(!rest.contains(reference), "{reference}");
    }
}

#[test]
fn state_beyond_the_budget_is_measured_too() {
    let config = Config {
        keys: 60_000,
        value_size: 300,
        ops: 10_000,
        ..config(Distribution::Uniform)
    };
    let report = measure(&config);
    for backend in &report.backends[2..] {
        assert!(backend.disk_bytes > 0, "{backend:?}");
        assert!(
            backend.write_amplification.is_some_and(|w| w >= 0.9),
            "{backend:?}"
        );
    }
}

#[test]
fn sizes_and_counts_are_read() {
    assert_eq!(parse_count("1M"), Ok(1_000_000));
    assert_eq!(parse_count("2.5k"), Ok(2500));
    assert_eq!(parse_count("1_000"), Ok(1000));
    assert_eq!(parse_bytes("256MiB"), Ok(256 << 20));
    assert_eq!(parse_bytes("1GB"), Ok(1_000_000_000));
    assert_eq!(parse_bytes("100"), Ok(100));
    for wrong in ["", "M", "1X", "-1", "1e9"] {
        assert!(parse_count(wrong).is_err(), "{wrong}");
        assert!(parse_bytes(wrong).is_err(), "{wrong}");
    }
    assert!("read=50,update=40".parse::<Mix>().is_err());
    assert!("read=50,write=50".parse::<Mix>().is_err());
    assert!("read=300".parse::<Mix>().is_err());
    let mix: Mix = "read=90, scan=10".parse().unwrap();
    assert_eq!((mix.read, mix.update, mix.scan), (90, 0, 10));
}

#[test]
fn draws_follow_the_distribution() {
    let count = |distribution| {
        let config = config(distribution);
        let mut ids = Ids::new(&config, 100_000, 3);
        let mut counts = vec![0u32; config.keys as usize];
        for _ in 0..100_000 {
            counts[ids.draw() as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    };
    assert!(count(Distribution::Sequential).iter().all(|n| *n == 20));
    let uniform = count(Distribution::Uniform);
    assert!(
        uniform[0] < 60 && uniform[4999] > 0,
        "{} {}",
        uniform[0],
        uniform[4999]
    );
    // Zipf with exponent 0.99 over 5,000: the first has about 1 in 9.
    let zipf = count(Distribution::Zipf);
    assert!((9_000..13_000).contains(&zipf[0]), "{}", zipf[0]);
    assert!(zipf[0] > zipf[9] * 7, "{} {}", zipf[0], zipf[9]);
}

#[test]
fn quantiles_are_right_to_three_hundredths() {
    let mut histogram = Histogram::default();
    for us in 1..=10_000u64 {
        histogram.record(Duration::from_micros(us));
    }
    for (share, expected) in [
        (0.5, 5000.0),
        (0.99, 9900.0),
        (0.999, 9990.0),
        (1.0, 10_000.0),
    ] {
        let found = histogram.quantile_us(share);
        assert!((found / expected - 1.0).abs() < 0.032, "{share}: {found}");
    }
    assert_eq!(Histogram::default().quantile_us(0.5), 0.0);
    histogram.record(Duration::MAX);
    assert!(histogram.max_us() > 1e12);
}
