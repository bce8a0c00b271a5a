//! `gc`, `compact`, `savepoint create` and `savepoint dispose`.

use super::super::output::Format;
use super::{At, CliError, CliResult, CreateArgs, GcArgs, place, size};
use checkpoint_store::{
    Access, BlobPath, CompactionPolicy, GcMode, ManifestDraft, OperatorUpdate, Retention,
    SavepointWriter, StoreOptions, open_place,
};
use serde_json::json;
use time_engine::{Clock, SystemClock};

pub(super) fn collect(args: &GcArgs) -> CliResult {
    let store = place::open(&args.at.dir)?;
    let mut retention = Retention::newest(args.keep);
    if let Some(age) = args.max_age {
        retention = retention.and_younger_than(age, SystemClock::new().now().as_millis());
    }
    let mode = match args.dry_run {
        true => GcMode::DryRun,
        false => GcMode::Delete,
    };
    let report = store.collect_garbage(&retention, mode)?;
    let plan = &report.plan;
    if args.at.format == Format::Json {
        let ids = |of: &[checkpoint_store::CheckpointRef]| {
            of.iter()
                .map(|checkpoint| checkpoint.id.get())
                .collect::<Vec<_>>()
        };
        let orphans = plan.garbage.iter().map(|blob| blob.path.as_str());
        println!(
            "{}",
            json!({
                "dry_run": args.dry_run,
                "kept": ids(&plan.kept),
                "expired": ids(&plan.expired),
                "damaged": plan.damaged.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "removed": report.removed,
                "removed_bytes": report.removed_bytes,
                "garbage": orphans.collect::<Vec<_>>(),
                "in_progress": plan.in_progress.len(),
                "failures": report.failures.iter().map(|(blob, why)| json!({
                    "path": blob.path.as_str(), "why": why,
                })).collect::<Vec<_>>(),
            })
        );
    } else {
        for checkpoint in &plan.kept {
            println!("keep    {checkpoint}");
        }
        for damaged in &plan.damaged {
            println!("keep    {damaged}");
        }
        for checkpoint in &plan.expired {
            println!("expire  {checkpoint}");
        }
        if args.dry_run {
            for blob in &plan.garbage {
                println!("remove  {} ({})", blob.path, size(blob.size));
            }
        }
        let verb = if args.dry_run {
            "would be removed"
        } else {
            "removed"
        };
        let (count, bytes) = (report.removed, size(report.removed_bytes));
        println!(
            "{count} files {verb}, {bytes}{}",
            match plan.in_progress.len() {
                0 => String::new(),
                n => format!(
                    "; {n} are of a checkpoint that is being written, or was when its writer \
                     stopped: they go once there is a newer one"
                ),
            }
        );
    }
    match &report.failures[..] {
        [] => Ok(()),
        [(blob, why), ..] => Err(CliError::Failed(format!(
            "{} files could not be removed, the first being {}: {why}",
            report.failures.len(),
            blob.path
        ))),
    }
}

pub(super) fn compact(args: &At) -> CliResult {
    let store = place::take_over(&args.dir)?;
    let latest = store.latest()?;
    let manifest = latest
        .manifest
        .ok_or_else(|| CliError::NotFound("there is no usable checkpoint".to_owned()))?;
    let Some(compaction) = store.compact(&manifest, &CompactionPolicy::EVERYTHING)? else {
        match args.format {
            Format::Json => println!("{}", json!({ "id": null })),
            Format::Table => println!("nothing to do: no chain is longer than one checkpoint"),
        }
        return Ok(());
    };
    let created = manifest.created_ms;
    let mut draft =
        ManifestDraft::new(latest.next_id, created, Some(&manifest)).with_compaction(&compaction);
    for operator in &manifest.operators {
        // The same state at the same position: only the files are others.
        draft = draft.with_operator(OperatorUpdate {
            uid: operator.uid.clone(),
            parallelism: operator.parallelism,
            max_parallelism: operator.max_parallelism,
            catalog: operator.catalog.clone(),
            shards: Vec::new(),
            subtasks: operator.subtasks.clone(),
        });
    }
    for (source, splits) in &manifest.sources {
        draft = draft.with_source(source, splits.clone());
    }
    for (name, value) in &manifest.properties {
        draft = draft.with_property(name, value);
    }
    let committed = store.commit(draft.build())?.manifest;
    let (before, after) = compaction.files();
    if args.format == Format::Json {
        println!(
            "{}",
            json!({
                "id": committed.id,
                "files_before": before,
                "files_after": after,
                "bytes_read": compaction.bytes_read(),
                "bytes_written": compaction.bytes_written(),
            })
        );
    } else {
        let (read, written) = (
            size(compaction.bytes_read()),
            size(compaction.bytes_written()),
        );
        println!(
            "checkpoint {}: {before} files became {after}, {read} became {written}",
            committed.id
        );
    }
    Ok(())
}

pub(super) fn create_savepoint(args: &CreateArgs) -> CliResult {
    let (store, manifest) = place::open_one(&args.one)?;
    let blobs = open_place(&args.to, Access::Write)?;
    let mut writer = SavepointWriter::create(blobs, BlobPath::root(), StoreOptions::default())?;
    if args.typed {
        writer = writer.with_typed_columns();
    }
    let saved = match store.save_as(&manifest, &writer) {
        Ok(saved) => saved,
        Err(error) => {
            // Half a savepoint is of use to nobody.
            let _ = writer.discard();
            return Err(error.into());
        }
    };
    let (files, bytes) = (saved.files().count(), saved.stats.bytes_total);
    if args.one.at.format == Format::Json {
        let to = args.to.display().to_string();
        println!(
            "{}",
            json!({ "id": saved.id, "directory": to, "files": files, "bytes": bytes })
        );
    } else {
        let to = args.to.display();
        println!(
            "savepoint of checkpoint {} in {to}: {files} files, {}",
            saved.id,
            size(bytes)
        );
    }
    Ok(())
}

pub(super) fn dispose(args: &At) -> CliResult {
    let store = place::open(&args.dir)?;
    store.dispose_savepoint(&BlobPath::root())?;
    match args.format {
        Format::Json => println!("{}", json!({ "disposed": args.dir })),
        Format::Table => println!("disposed of {}", args.dir.display()),
    }
    Ok(())
}
