//! The catalogue as the gateway keeps it: in memory, and in a journal so that a restart knows it too.

use crate::{
    error::{Error, Result},
    log::sync_dir,
};
use recsys::{Catalogue, CatalogueItem};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

/// Names and categories of items. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub(crate) struct ItemCatalogue {
    items: Arc<RwLock<Catalogue>>,
    journal: Arc<Mutex<Journal>>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: fs::File,
    length: u64,
}

impl ItemCatalogue {
    /// Reads the journal.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Recsys`] naming a bad line.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let mut items = Catalogue::default();
        let mut lines = 0;
        if path.exists() {
            drop_torn_line(&path)?;
            lines = items.load(&path)?;
        }
        // One line an item, or the journal would grow with every change for ever.
        if lines > 2 * items.len() as u64 {
            write_whole(&path, &items)?;
        }
        let journal = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let length = journal.metadata().map_err(Error::io("open", &path))?.len();
        Ok(Self {
            items: Arc::new(RwLock::new(items)),
            journal: Arc::new(Mutex::new(Journal {
                path,
                file: journal,
                length,
            })),
        })
    }

    /// The items of a CSV or JSONL file that are not known, or not as the file has them.
    ///
    /// # Errors
    /// [`Error::Recsys`] naming the file and the bad line.
    pub(crate) fn news_in(&self, file: &Path) -> Result<Vec<CatalogueItem>> {
        let mut given = Catalogue::default();
        given.load(file)?;
        let known = self.read();
        Ok(given
            .iter()
            .filter(|item| known.get(item.item_id.as_str()) != Some(*item))
            .cloned()
            .collect())
    }

    /// What is known now.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        // An upsert replaces one item whole: a panic cannot leave it half done.
        self.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds or replaces items; they are durable when it returns. Blocks for an fsync.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing changed.
    pub(crate) fn upsert(&self, items: Vec<CatalogueItem>) -> Result<()> {
        let mut bytes = Vec::new();
        for item in &items {
            serde_json::to_writer(&mut bytes, item)
                .map_err(|error| Error::Config(error.to_string()))?;
            bytes.push(b'\n');
        }
        self.journal().append(&bytes)?;
        let mut known = self.items.write().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            known.upsert(item);
        }
        Ok(())
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half a line must not stand before the next one.
            let cut = self.file.set_len(self.length);
            if let Err(error) = cut {
                tracing::warn!(%error, "cannot take back a failed write to the catalogue");
            }
            return Err(Error::io("write", &self.path)(source));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// A crash may leave the last line without its end: it was never acknowledged.
fn drop_torn_line(path: &Path) -> Result<()> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < bytes.len() {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(whole as u64))
            .map_err(Error::io("repair", path))?;
    }
    Ok(())
}

fn write_whole(path: &Path, items: &Catalogue) -> Result<()> {
    let next = path.with_extension("jsonl.next");
    let fail = |action| Error::io(action, &next);
    let mut file = std::io::BufWriter::new(fs::File::create(&next).map_err(fail("create"))?);
    for item in items.iter() {
        serde_json::to_writer(&mut file, item).map_err(|error| Error::Config(error.to_string()))?;
        file.write_all(b"\n").map_err(fail("write"))?;
    }
    let file = file
        .into_inner()
        .map_err(|error| fail("write")(error.into_error()))?;
    file.sync_all().map_err(fail("sync"))?;
    fs::rename(&next, path).map_err(fail("rename"))?;
    if let Some(dir) = path.parent() {
        sync_dir(dir).map_err(Error::io("sync", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use recsys::ItemId;

    fn item(id: &str, category: &str) -> CatalogueItem {
        CatalogueItem::new(ItemId::new(id).unwrap(), category, "")
    }

    #[test]
    fn upserts_survive_a_restart_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalogue.jsonl");
        let catalogue = ItemCatalogue::open(path.clone()).unwrap();
        catalogue
            .upsert(vec![item("a", "x"), item("b", "x")])
            .unwrap();
        catalogue.upsert(vec![item("a", "y")]).unwrap();
        drop(catalogue);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"item_id\":\"c\",\"categ").unwrap();
        let catalogue = ItemCatalogue::open(path.clone()).unwrap();
        assert_eq!(catalogue.read().category("a"), "y");
        assert_eq!(catalogue.read().len(), 2);
        let given = dir.path().join("given.csv");
        fs::write(&given, "item,category\nb,z\n").unwrap();
        let news = catalogue.news_in(&given).unwrap();
        assert_eq!(news.len(), 1);
        catalogue.upsert(news).unwrap();
        assert!(catalogue.news_in(&given).unwrap().is_empty());
        assert_eq!(catalogue.read().category("b"), "z");
        catalogue.upsert(vec![item("b", "z")]).unwrap();
        drop(catalogue);
        // Five lines for two items: one line each after the next start.
        ItemCatalogue::open(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 2);
    }
}
