//! The report as one HTML file: opens anywhere, asks nobody for anything.

use super::{
    chart::{Axes, Line, bars, class, escape, lines},
    report::{BackendReport, Report, megabytes, rate},
};
use std::fmt::Write;

/// Renders the page.
pub(crate) fn page(report: &Report) -> String {
    let config = &report.config;
    let mut html = String::from(HEAD);
    let _ = write!(
        html,
        "<h1>State backends</h1><p class='sub'>{} keys of 16 bytes, values of {} bytes, {}, {} operations \
         ({}), budget {}, one thread. Weir {}, {}.</p><p class='sub'><code>{}</code></p>",
        config.keys,
        config.value_size,
        config.distribution,
        config.ops,
        config.mix,
        megabytes(config.budget_bytes as f64),
        escape(&report.weir_version),
        escape(&report.machine),
        escape(&report.command),
    );
    legend(&mut html, report);
    html.push_str("<div class='grid2'>");
    for (title, of) in RATES {
        let values: Vec<_> = report
            .backends
            .iter()
            .enumerate()
            .map(|(i, b)| (b.backend.to_string(), i, of(b)))
            .collect();
        figure(&mut html, title, &bars(&values, rate));
    }
    figure(
        &mut html,
        "Latency of one operation in the mix, by percentile",
        &latency(report),
    );
    figure(
        &mut html,
        "Operations a second in the course of the mix",
        &timeline(report),
    );
    let costs: [Cost; 3] = [
        (
            "Resident memory",
            |b| b.memory_bytes.map(|n| n as f64),
            megabytes,
        ),
        (
            "Disk",
            |b| (b.disk_bytes > 0).then_some(b.disk_bytes as f64),
            megabytes,
        ),
        (
            "Longest stall of a checkpoint",
            |b| Some(b.checkpoint_summary()?.max_stall_ms),
            millis,
        ),
    ];
    for (title, of, label) in costs {
        let values: Vec<_> = report
            .backends
            .iter()
            .enumerate()
            .filter_map(|(i, b)| Some((b.backend.to_string(), i, of(b)?)))
            .collect();
        if !values.is_empty() {
            figure(&mut html, title, &bars(&values, label));
        }
    }
    html.push_str("</div><h2>All figures</h2>");
    table(&mut html, report);
    html.push_str("</main></body></html>\n");
    html
}

/// A title, and what is plotted under it.
type Rate = (&'static str, fn(&BackendReport) -> f64);

/// A title, what is plotted under it where there is any, and how it is written.
type Cost = (
    &'static str,
    fn(&BackendReport) -> Option<f64>,
    fn(f64) -> String,
);

const RATES: [Rate; 6] = [
    ("Load, rows a second", |b| b.load_per_s),
    ("Read, operations a second", |b| b.read_per_s),
    ("Update in place, operations a second", |b| b.update_per_s),
    ("Update in batches of 64, operations a second", |b| {
        b.batch_update_per_s
    }),
    ("Scan of 100 entries, scans a second", |b| b.scan_per_s),
    ("The mix with checkpoints, operations a second", |b| {
        b.mix_per_s
    }),
];

fn figure(html: &mut String, title: &str, svg: &str) {
    let _ = write!(
        html,
        "<figure><figcaption>{}</figcaption>{svg}</figure>",
        escape(title)
    );
}

fn legend(html: &mut String, report: &Report) {
    html.push_str("<p class='legend'>");
    for (i, backend) in report.backends.iter().enumerate() {
        let _ = write!(
            html,
            "<span><i class='{}'></i>{}</span>",
            class(i),
            backend.backend
        );
    }
    html.push_str("</p>");
}

fn latency(report: &Report) -> String {
    let names = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let plotted: Vec<_> = report
        .backends
        .iter()
        .enumerate()
        .map(|(colour, b)| {
            let l = &b.latency;
            let values = [
                l.p50_us, l.p90_us, l.p99_us, l.p999_us, l.p9999_us, l.max_us,
            ];
            Line {
                colour,
                points: values
                    .iter()
                    .enumerate()
                    .map(|(i, v)| (i as f64, *v))
                    .collect(),
            }
        })
        .collect();
    lines(
        &plotted,
        &Axes {
            x_ticks: names
                .iter()
                .enumerate()
                .map(|(i, name)| (i as f64, (*name).to_owned()))
                .collect(),
            y_label: &micros,
            logarithmic: true,
        },
    )
}

fn timeline(report: &Report) -> String {
    let plotted: Vec<_> = report
        .backends
        .iter()
        .enumerate()
        .map(|(colour, b)| Line {
            colour,
            // By the share of the work done: a slow backend takes many times as long.
            points: share_done(b),
        })
        .collect();
    lines(
        &plotted,
        &Axes {
            x_ticks: [0.0, 0.25, 0.5, 0.75, 1.0]
                .map(|x| (x, format!("{:.0} %", x * 100.0)))
                .to_vec(),
            y_label: &rate,
            logarithmic: true,
        },
    )
}

fn share_done(backend: &BackendReport) -> Vec<(f64, f64)> {
    let count = backend.timeline.len() as f64;
    let point =
        |(i, moment): (usize, &super::report::Moment)| ((i + 1) as f64 / count, moment.ops_per_s);
    backend.timeline.iter().enumerate().map(point).collect()
}

/// Microseconds in the unit that reads best.
pub(crate) fn micros(us: f64) -> String {
    if us >= 1e6 {
        format!("{:.1} s", us / 1e6)
    } else if us >= 1e3 {
        format!("{:.1} ms", us / 1e3)
    } else if us >= 10.0 {
        format!("{us:.0} us")
    } else {
        format!("{us:.2} us")
    }
}

/// The rows of the table: a name, and what each backend has there.
pub(crate) fn rows(report: &Report) -> Vec<(&'static str, Vec<String>)> {
    let each = |of: &dyn Fn(&BackendReport) -> Option<String>| -> Vec<String> {
        let cell = |b| of(b).unwrap_or_else(|| "-".to_owned());
        report.backends.iter().map(cell).collect()
    };
    let summary = |of: &dyn Fn(super::report::CheckpointSummary) -> String| {
        each(&|b| b.checkpoint_summary().map(of))
    };
    vec![
        ("load, rows/s", each(&|b| Some(rate(b.load_per_s)))),
        ("read, ops/s", each(&|b| Some(rate(b.read_per_s)))),
        ("update, ops/s", each(&|b| Some(rate(b.update_per_s)))),
        (
            "update in batches, ops/s",
            each(&|b| Some(rate(b.batch_update_per_s))),
        ),
        ("scan of 100, scans/s", each(&|b| Some(rate(b.scan_per_s)))),
        (
            "mix with checkpoints, ops/s",
            each(&|b| Some(rate(b.mix_per_s))),
        ),
        ("latency p50", each(&|b| Some(micros(b.latency.p50_us)))),
        ("latency p99", each(&|b| Some(micros(b.latency.p99_us)))),
        ("latency p99.9", each(&|b| Some(micros(b.latency.p999_us)))),
        ("latency max", each(&|b| Some(micros(b.latency.max_us)))),
        (
            "longest slice of background work",
            each(&|b| Some(millis(b.slice.ms))),
        ),
        (
            "the same, of the thread's own time",
            each(&|b| b.slice.thread_ms.map(millis)),
        ),
        (
            "slices over 1 ms, of that time; all",
            each(&|b| Some(format!("{}; {}", b.slices.over_1_ms, b.slices.count))),
        ),
        (
            "longest gap of a thread doing nothing",
            each(&|b| Some(millis(b.idle.ms))),
        ),
        (
            "the same, of the thread's own time",
            each(&|b| b.idle.thread_ms.map(millis)),
        ),
        ("longest operation", each(&|b| Some(millis(b.operation.ms)))),
        (
            "the same, of the thread's own time",
            each(&|b| b.operation.thread_ms.map(millis)),
        ),
        ("checkpoints in the mix", summary(&|c| c.count.to_string())),
        (
            "checkpoint, mean",
            summary(&|c| format!("{:.0} ms", c.mean_s * 1e3)),
        ),
        (
            "checkpoint, longest stall",
            summary(&|c| millis(c.max_stall_ms)),
        ),
        (
            "the same, of the thread's own time",
            summary(&|c| c.max_thread_stall_ms.map_or_else(|| "-".to_owned(), millis)),
        ),
        (
            "checkpoint, mean size",
            summary(&|c| megabytes(c.mean_bytes)),
        ),
        (
            "restore",
            each(&|b| b.restore_s.map(|s| format!("{s:.2} s"))),
        ),
        (
            "resident memory",
            each(&|b| b.memory_bytes.map(|n| megabytes(n as f64))),
        ),
        (
            "rows in memory",
            each(&|b| b.in_memory.map(|share| format!("{:.0} %", 100.0 * share))),
        ),
        (
            "resident memory, peak",
            each(&|b| b.peak_memory_bytes.map(|n| megabytes(n as f64))),
        ),
        (
            "disk",
            each(&|b| (b.disk_bytes > 0).then(|| megabytes(b.disk_bytes as f64))),
        ),
        (
            "write amplification",
            each(&|b| b.write_amplification.map(|w| format!("{w:.1}"))),
        ),
    ]
}

fn millis(ms: f64) -> String {
    format!("{ms:.2} ms")
}

fn table(html: &mut String, report: &Report) {
    html.push_str("<div class='scroll'><table><tr><th></th>");
    for backend in &report.backends {
        let _ = write!(html, "<th>{}</th>", backend.backend);
    }
    html.push_str("</tr>");
    for (name, cells) in rows(report) {
        let _ = write!(html, "<tr><td>{}</td>", escape(name));
        for cell in cells {
            let _ = write!(html, "<td>{}</td>", escape(&cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");
}

const HEAD: &str = "<!doctype html><html lang='en'><head><meta charset='utf-8'>\
<meta name='viewport' content='width=device-width'><title>Weir: state backends</title><style>\
:root{--bg:#fff;--fg:#1c2430;--dim:#667;--grid:#dde;--c0:#8a94a6;--c1:#2266cc;--c2:#1a9a6c;--c3:#d9722e;--c4:#8a4fbf;--c5:#b8324f}\
@media(prefers-color-scheme:dark){:root{--bg:#14181f;--fg:#e6e9ef;--dim:#9aa3b2;--grid:#2c3340;--c0:#78829a;--c1:#5b9bf0;--c2:#40c795;--c3:#f09a5e;--c4:#b583e8;--c5:#e86a86}}\
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:0}main{max-width:1120px;margin:0 auto;padding:24px}\
h1{margin:0 0 4px;font-size:26px}h2{font-size:19px;margin-top:32px}.sub{color:var(--dim);margin:2px 0}code{font-size:13px}\
.legend span{margin-right:18px}.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px}\
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:20px 32px}figure{margin:0}figcaption{font-weight:600;margin-bottom:4px}\
svg{width:100%;height:auto;overflow:visible}svg text{fill:var(--fg);font-size:12px;dominant-baseline:middle}.name{text-anchor:end}.tick{text-anchor:middle}\
.grid{stroke:var(--grid)}.line{fill:none!important;stroke-width:2}\
.c0{fill:var(--c0);stroke:var(--c0);background:var(--c0)}.c1{fill:var(--c1);stroke:var(--c1);background:var(--c1)}.c2{fill:var(--c2);stroke:var(--c2);background:var(--c2)}\
.c3{fill:var(--c3);stroke:var(--c3);background:var(--c3)}.c4{fill:var(--c4);stroke:var(--c4);background:var(--c4)}.c5{fill:var(--c5);stroke:var(--c5);background:var(--c5)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:5px 16px 5px 0;text-align:right;border-bottom:1px solid var(--grid)}\
td:first-child{text-align:left}</style></head><body><main>";
