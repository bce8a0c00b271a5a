//! `verify` and `check`.

use super::super::output::Format;
use super::{CheckArgs, CliError, CliResult, VerifyArgs, place};
use checkpoint_store::{ExpectedOperator, Finding, Manifest, OperatorUid, Severity, check_restore};
use serde_json::json;
use state_backend::MaxParallelism;
use std::fs;

pub(super) fn verify(args: &VerifyArgs) -> CliResult {
    let store = place::open(&args.one.at.dir)?;
    let mut damaged = 0;
    let mut report = |id: u64, faults: Vec<String>| {
        damaged += usize::from(!faults.is_empty());
        match (args.one.at.format, &faults[..]) {
            (Format::Json, _) => {
                println!(
                    "{}",
                    json!({ "id": id, "sound": faults.is_empty(), "damage": faults })
                );
            }
            (Format::Table, []) => println!("checkpoint {id} is sound"),
            (Format::Table, _) => {
                println!("checkpoint {id} is damaged:");
                faults.iter().for_each(|fault| println!("  {fault}"));
            }
        }
    };
    let read = |manifest: &Manifest| -> Result<Vec<String>, CliError> {
        let damage = store.verify(manifest)?;
        Ok(damage.iter().map(ToString::to_string).collect())
    };
    if args.all {
        for listed in store.checkpoints()? {
            let mut faults: Vec<String> = listed.damage.iter().map(ToString::to_string).collect();
            if let Some(manifest) = &listed.manifest {
                for fault in read(manifest)? {
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
            report(listed.checkpoint.id.get(), faults);
        }
    } else {
        let manifest = place::choose(&store, args.one.id)?;
        report(manifest.id.get(), read(&manifest)?);
    }
    match damaged {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{count} damaged"))),
    }
}

/// The part of a gateway's configuration that decides whether it can restore.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Wanted {
    state: WantedState,
}

#[derive(Debug, serde::Deserialize)]
#[serde(default)]
struct WantedState {
    parallelism: u16,
}

impl Default for WantedState {
    fn default() -> Self {
        Self { parallelism: 2 }
    }
}

fn gateway_job(parallelism: u16) -> Result<Vec<ExpectedOperator>, CliError> {
    // "recommend" reads across users and items, so it has one subtask, always.
    let operators = [("profile", parallelism), ("recommend", 1)];
    let operators = operators.into_iter().map(|(uid, parallelism)| {
        Ok(ExpectedOperator {
            uid: OperatorUid::new(uid)?,
            parallelism,
            max_parallelism: MaxParallelism::DEFAULT.get(),
            catalog: None,
        })
    });
    Ok(operators.collect::<checkpoint_store::Result<_>>()?)
}

pub(super) fn check(args: &CheckArgs) -> CliResult {
    let (store, manifest) = place::open_one(&args.one)?;
    let path = args.against.display();
    let text = fs::read_to_string(&args.against)
        .map_err(|error| CliError::Usage(format!("cannot read {path}: {error}")))?;
    let wanted: Wanted =
        toml::from_str(&text).map_err(|error| CliError::Usage(format!("{path}: {error}")))?;
    let mut findings = check_restore(&manifest, &gateway_job(wanted.state.parallelism)?);
    findings.extend(store.verify(&manifest)?.into_iter().map(|damage| Finding {
        severity: Severity::Error,
        what: damage.to_string(),
    }));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let fails = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    if args.one.at.format == Format::Json {
        let id = manifest.id;
        println!(
            "{}",
            json!({ "id": id, "restorable": !fails, "findings": findings })
        );
    } else {
        for finding in &findings {
            println!("{}: {}", finding.severity, finding.what);
        }
        let verdict = if fails {
            "cannot be restored"
        } else {
            "can be restored"
        };
        println!("checkpoint {} {verdict}", manifest.id);
    }
    match fails {
        false => Ok(()),
        true => Err(CliError::Failed(
            "the job would not start from it".to_owned(),
        )),
    }
}
