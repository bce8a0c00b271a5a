//! `verify` and `check`.

use super::super::output::Format;
use super::{CheckArgs, CliError, CliResult, VerifyArgs, place};
use crate::{config::Config, error::chain, job::expected_operators};
use checkpoint_store::{Finding, Manifest, ManifestKind, Severity, check_restore};
use serde_json::json;

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
        // Newer ones that cannot even be read.
        if args.one.id.is_none() && manifest.kind == ManifestKind::Checkpoint {
            for passed in store.latest()?.passed_over {
                let faults = passed.damage.iter().map(ToString::to_string);
                report(passed.checkpoint.id.get(), faults.collect());
            }
        }
        report(manifest.id.get(), read(&manifest)?);
    }
    match damaged {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{count} damaged"))),
    }
}

pub(super) fn check(args: &CheckArgs) -> CliResult {
    let (store, manifest) = place::open_one(&args.one)?;
    let usage = |error: crate::error::Error| CliError::Usage(chain(&error));
    let config = Config::load(&args.against).map_err(usage)?;
    config.validate().map_err(usage)?;
    let job = expected_operators(&config).map_err(usage)?;
    let mut findings = check_restore(&manifest, &job);
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
