//! Rules, reasons and experiments over the wire: changed while running, durable, checked.

use crate::command::weir;
use crate::gateway_under_test::{Gateway, config, event};
use gateway::{
    Backend, Model,
    proto::v1::{
        Experiment, ExplainRequest, ExplainResponse, GetExperimentsRequest, GetRulesRequest,
        Outcome, RecommendRequest, RecordImpressionsRequest, Rules, SetExperimentsRequest,
        SetRulesRequest, Variant, VariantReport, recommendations_client::RecommendationsClient,
        steering_client::SteeringClient,
    },
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

async fn steering(gateway: &Gateway) -> SteeringClient<Channel> {
    SteeringClient::connect(gateway.address.clone())
        .await
        .unwrap()
}

/// Everybody looks at a few items of ten; `ann` has had none of the even ones.
async fn visits(gateway: &Gateway) -> u64 {
    let mut events = Vec::new();
    for user in 0..20 {
        for n in 0..4 {
            events.push(event(&format!("u{user}"), &format!("i{}", (user + n) % 10)));
        }
    }
    for item in ["i1", "i3", "i5"] {
        events.push(event("ann", item));
    }
    let mut producer = gateway.producer("visits").await;
    producer.send(events).await.unwrap();
    producer.close().await.unwrap().log_position
}

async fn list(gateway: &Gateway, min_position: u64) -> Vec<String> {
    let mut client = RecommendationsClient::connect(gateway.address.clone())
        .await
        .unwrap();
    let request = RecommendRequest {
        user_id: "ann".into(),
        k: 5,
        min_position,
    };
    let list = client.recommend(request).await.unwrap().into_inner();
    let items = list.recommendations.into_iter();
    items.map(|item| item.item_id).collect()
}

async fn explain(gateway: &Gateway, item: &str) -> Result<ExplainResponse, Status> {
    let mut client = RecommendationsClient::connect(gateway.address.clone())
        .await
        .unwrap();
    let request = ExplainRequest {
        user_id: "ann".into(),
        item_id: item.into(),
        k: 5,
        min_position: 0,
    };
    Ok(client.explain(request).await?.into_inner())
}

fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let request = status.get_details_bad_request();
    let violations = request
        .into_iter()
        .flat_map(|request| request.field_violations);
    violations.map(|violation| violation.field).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_while_running_and_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(dir.path(), Backend::Memory)).await;
    let position = visits(&gateway).await;
    let before = list(&gateway, position).await;
    let best = before[0].clone();
    let first = explain(&gateway, &best).await.unwrap();
    assert_eq!((first.outcome(), first.rank), (Outcome::Recommended, 1));
    assert!(!first.contributions.is_empty() && !first.source.is_empty());
    let seen = explain(&gateway, "i3").await.unwrap();
    assert_eq!(seen.outcome(), Outcome::Seen);
    let unknown = explain(&gateway, "never").await.unwrap();
    assert_eq!(unknown.outcome(), Outcome::UnknownItem);
    assert_eq!(
        fields(&explain(&gateway, "").await.unwrap_err()),
        ["item_id"]
    );

    let rules = Some(Rules {
        deny: vec![best.clone()],
        ..Rules::default()
    });
    let set = steering(&gateway)
        .await
        .set_rules(SetRulesRequest { rules })
        .await
        .unwrap()
        .into_inner();
    let after = list(&gateway, set.log_position).await;
    assert!(!after.contains(&best), "{after:?}");
    gateway.stop().await;

    let gateway = Gateway::start(config(dir.path(), Backend::Memory)).await;
    assert_eq!(list(&gateway, set.log_position).await, after);
    let rules = steering(&gateway)
        .await
        .get_rules(GetRulesRequest { min_position: 0 })
        .await
        .unwrap()
        .into_inner()
        .rules
        .unwrap();
    assert_eq!(rules.deny, std::slice::from_ref(&best));
    let denied = explain(&gateway, &best).await.unwrap();
    assert_eq!(denied.outcome(), Outcome::Filtered);
    assert_eq!(denied.filtered_by, "it is on the deny list");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_are_refused_by_field_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(dir.path(), Backend::Memory)).await;
    let mut client = steering(&gateway).await;
    let deny = Rules {
        deny: vec![String::new()],
        ..Rules::default()
    };
    let diversity = Rules {
        diversity: 2.0,
        ..Rules::default()
    };
    for (rules, field) in [(deny, "rules.item_id"), (diversity, "rules.diversity")] {
        let rules = Some(rules);
        let status = client
            .set_rules(SetRulesRequest { rules })
            .await
            .unwrap_err();
        assert_eq!(fields(&status), [field]);
    }
    let experiments = vec![Experiment {
        name: "e".into(),
        variants: Vec::new(),
    }];
    let status = client
        .set_experiments(SetExperimentsRequest { experiments })
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["experiments.variants"]);
    let shown = RecordImpressionsRequest {
        user_id: "u".into(),
        item_ids: vec!["i".into()],
        timestamp_ms: 0,
    };
    let status = client.record_impressions(shown).await.unwrap_err();
    assert_eq!(fields(&status), ["timestamp_ms"]);
    assert_eq!(gateway.status().await.log.unwrap().end_position, 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn experiments_count_what_was_shown_and_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), Backend::Memory);
    config.recommend.model = Model::Tutorial;
    let gateway = Gateway::start(config).await;
    let position = visits(&gateway).await;
    let shown = list(&gateway, position).await;
    assert!(!shown.is_empty(), "the tutorial's model has a list as well");
    let mut client = steering(&gateway).await;
    let variant = |name: &str, channel: &str| Variant {
        name: name.into(),
        channel: channel.into(),
        ..Variant::default()
    };
    let experiments = vec![Experiment {
        name: "order".into(),
        variants: vec![variant("old", "tutorial"), variant("new", "auto")],
    }];
    client
        .set_experiments(SetExperimentsRequest { experiments })
        .await
        .unwrap();
    let impressions = RecordImpressionsRequest {
        user_id: "ann".into(),
        item_ids: shown.clone(),
        timestamp_ms: 1_700_000_000_000,
    };
    client.record_impressions(impressions).await.unwrap();
    let mut producer = gateway.producer("clicks").await;
    producer.send(vec![event("ann", &shown[0])]).await.unwrap();
    let min_position = producer.close().await.unwrap().log_position;
    let answer = client
        .get_experiments(GetExperimentsRequest { min_position })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.experiments[0].name, "order");
    assert_eq!(answer.experiments[0].variants[1].weight, Some(1));
    let sum = |count: fn(&VariantReport) -> u64| answer.reports.iter().map(count).sum::<u64>();
    assert_eq!(answer.reports.len(), 2);
    assert_eq!(sum(|r| r.impressions), shown.len() as u64);
    assert_eq!(sum(|r| r.outcomes), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_explain_and_steer() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(dir.path(), Backend::Memory)).await;
    let position = visits(&gateway).await;
    let best = list(&gateway, position).await[0].clone();
    let ask = |words: &[&str]| {
        let to = ["--to", gateway.address.as_str()];
        weir(words.iter().chain(&to))
    };
    let json = |words: &[&str]| -> Vec<serde_json::Value> {
        let (code, output, errors) = ask(&[words, &["--format", "json"]].concat());
        assert_eq!(code, 0, "{words:?}: {output}{errors}");
        let lines = output.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let explain = ["explain", "--user", "ann", "--item"];

    let why = &json(&[&explain[..], &[&best]].concat())[0];
    assert_eq!(
        (&why["outcome"], &why["rank"]),
        (&"recommended".into(), &1.into())
    );
    assert!(!why["contributions"].as_array().unwrap().is_empty());
    let (code, table, _) = ask(&[&explain[..], &["i3"]].concat());
    assert!(code == 0 && table.contains("ann has had it"), "{table}");
    let (code, _, errors) = ask(&[&explain[..], &[""]].concat());
    assert!(code == 2 && errors.contains("item_id"), "{code} {errors}");

    let file = dir.path().join("rules.json");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("{{\"deny\": [\"{best}\"]}}")).unwrap();
    let (code, set, errors) = ask(&["rules", "set", path]);
    assert!(code == 0 && set.contains("log position"), "{set}{errors}");
    let denied = || json(&[&explain[..], &[&best]].concat())[0]["outcome"] == "filtered";
    // It is acknowledged when it is in the log, and holds when it is learnt.
    assert!((0..200).any(|_| denied()));
    assert_eq!(json(&["rules", "get"])[0]["deny"][0], best.as_str());
    std::fs::write(&file, "{\"denny\": []}").unwrap();
    let (code, _, errors) = ask(&["rules", "set", path]);
    assert!(code == 2 && errors.contains("denny"), "{code} {errors}");
    let (code, _, errors) = ask(&["rules", "set", "/no/such/file"]);
    assert!(code != 0 && errors.contains("/no/such/file"), "{errors}");

    let out = dir.path().join("users.jsonl");
    let at = position.to_string();
    let (code, _, errors) = ask(&[
        "export",
        "-o",
        out.to_str().unwrap(),
        "-k",
        "3",
        "--min-position",
        &at,
    ]);
    assert_eq!(code, 0, "{errors}");
    let text = std::fs::read_to_string(&out).unwrap();
    let users: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(users.len(), 21, "{text}");
    let ann = users.iter().find(|user| user["user_id"] == "ann").unwrap();
    assert_eq!(ann["profile"]["events"], 3);
    assert_eq!(ann["recommendations"].as_array().unwrap().len(), 3);

    let (_, none, _) = ask(&["experiments"]);
    assert!(none.contains("no experiment runs"), "{none}");
    let experiments = r#"[{"name": "diverse", "variants": [{"name": "control", "weight": 1},
        {"name": "mmr", "rules": {"diversity": 0.3}}]}]"#;
    std::fs::write(&file, experiments).unwrap();
    json(&["experiments", "--set", path]);
    let file = dir.path().join("experiments.toml");
    let experiments = "[[experiment]]\nname = \"diverse\"\n\
        [[experiment.variants]]\nname = \"control\"\n\
        [[experiment.variants]]\nname = \"mmr\"\nrules.diversity = 0.3\n";
    std::fs::write(&file, experiments).unwrap();
    let reports = json(&["experiments", "--set", file.to_str().unwrap()]);
    let variants = reports
        .iter()
        .map(|report| report["variant"].as_str().unwrap());
    assert_eq!(variants.collect::<Vec<_>>(), ["control", "mmr"]);
    assert_eq!(reports[0]["impressions"], 0);
    let shown = json(&["recommend", "--user", "ann", "-k", "3", "--shown"]).len() as u64;
    assert!(shown > 0);
    let counted = || {
        let reports = json(&["experiments"]);
        let impressions = reports
            .iter()
            .map(|report| report["impressions"].as_u64().unwrap());
        impressions.sum::<u64>() == shown
    };
    assert!((0..200).any(|_| counted()));
    gateway.stop().await;
}
