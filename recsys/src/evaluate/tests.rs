//! The fusion is not clearly worse than its best source, on streams unlike each other.

use super::*;

fn file(kind: Synthetic, events: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.csv");
    let mut out = std::fs::File::create(&path).unwrap();
    kind.write_csv(events, 7, &mut out).unwrap();
    (dir, path)
}

#[test]
fn the_fusion_is_not_clearly_worse_than_its_best_source() {
    for kind in [
        Synthetic::Ratings,
        Synthetic::Articles,
        Synthetic::Baskets,
        Synthetic::Turning,
        Synthetic::Plain,
    ] {
        let (_dir, data) = file(kind, 1_200);
        let protocol = match kind {
            Synthetic::Baskets | Synthetic::Turning => Protocol::PreqS { data },
            _ => Protocol::PreqU { data },
        };
        let evaluation = Evaluation::new(protocol).with_warm(0.6).with_sources();
        let report = evaluation.run(&mut |_, _| {}).unwrap();
        let best = report.sources.iter().map(|s| s.hr20).fold(0.0, f64::max);
        // With a few hundred events there is little to learn from yet.
        assert!(
            report.scored > 100 && report.hr20 > 0.8 * best,
            "{kind:?}: {} of {}, {:?}",
            report.hr20,
            best,
            report.sources
        );
    }
}

#[test]
fn a_source_scored_beside_the_fusion_is_the_source_alone() {
    let (_dir, data) = file(Synthetic::Sessions, 600);
    let run = |evaluation: Evaluation| evaluation.run(&mut |_, _| {}).unwrap();
    let both = Evaluation::new(Protocol::PreqS { data: data.clone() }).with_sources();
    let both = run(both);
    for name in ["cf-near", "session-knn", "popular-1h", "again"] {
        let alone = run(Evaluation::new(Protocol::PreqS { data: data.clone() }).with_model(name));
        let beside = both.sources.iter().find(|s| s.model == name).unwrap();
        // Ties are broken by id in a list, by place within a source.
        let near = |a: f64, b: f64| (a - b).abs() < 0.01;
        assert!(
            near(alone.hr20, beside.hr20) && near(alone.mrr20, beside.mrr20),
            "{name}"
        );
    }
}

#[test]
fn a_slice_takes_a_part_and_some_of_the_users() {
    let (_dir, data) = file(Synthetic::Repeats, 400);
    let learnt = |slice| {
        let data = data.clone();
        let evaluation = Evaluation::new(Protocol::PreqS { data }).with_slice(slice);
        evaluation.run(&mut |_, _| {}).map(|report| report.events)
    };
    let all = learnt(Slice::default()).unwrap();
    let half = Slice::default().with_part(0.5, 1.0);
    assert_eq!(learnt(half).unwrap(), all - all / 2);
    let some = [1, 2].map(|seed| learnt(Slice::default().with_users(0.5, seed)).unwrap());
    assert!(some.iter().all(|n| (all / 5..all * 4 / 5).contains(n)) && some[0] != some[1]);
    assert!(learnt(Slice::default().with_part(0.7, 0.3)).is_err());
    assert!(learnt(Slice::default().with_users(f64::NAN, 0)).is_err());
}

#[test]
fn a_stream_is_a_function_of_its_seed() {
    for kind in Synthetic::ALL {
        let write = |seed| {
            let mut bytes = Vec::new();
            kind.write_csv(300, seed, &mut bytes).unwrap();
            bytes
        };
        assert!(write(1) == write(1) && write(1) != write(2), "{kind:?}");
        assert_eq!(kind.as_str().parse::<Synthetic>().unwrap(), kind);
    }
}
