use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ItemId;

/// The category of an item that the catalogue does not know.
pub const UNKNOWN_CATEGORY: &str = "unknown";
/// The most attributes an item may have.
pub const MAX_ATTRIBUTES: usize = 64;
/// The longest name, category, attribute name or value, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;

/// What is known of an item besides what users do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueItem {
    /// Which item.
    pub item_id: ItemId,
    /// One category; [`UNKNOWN_CATEGORY`] where nobody said.
    #[serde(default = "unknown_category")]
    pub category: String,
    /// The name for people; empty where nobody said.
    #[serde(default)]
    pub name: String,
    /// Anything else that rules may ask about: stock, brand, price.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

fn unknown_category() -> String {
    UNKNOWN_CATEGORY.to_owned()
}

impl CatalogueItem {
    /// An item of a category.
    pub fn new(item_id: ItemId, category: impl Into<String>, name: impl Into<String>) -> Self {
        let category = match category.into() {
            none if none.is_empty() => unknown_category(),
            some => some,
        };
        Self {
            item_id,
            category,
            name: name.into(),
            attributes: BTreeMap::new(),
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        let text = |field, text: &str| match text.len() > MAX_TEXT_BYTES {
            true => Err(Error::invalid(
                field,
                format!("{} bytes, at most {MAX_TEXT_BYTES} are allowed", text.len()),
            )),
            false => Ok(()),
        };
        text("category", &self.category)?;
        text("name", &self.name)?;
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::invalid(
                "attributes",
                format!(
                    "{}, at most {MAX_ATTRIBUTES} are allowed",
                    self.attributes.len()
                ),
            ));
        }
        for (name, value) in &self.attributes {
            text("attributes", name)?;
            text("attributes", value)?;
        }
        Ok(())
    }

    /// The name, or the id where there is none.
    pub fn display_name(&self) -> &str {
        match self.name.is_empty() {
            true => self.item_id.as_str(),
            false => &self.name,
        }
    }
}

/// Items by id. An item it does not know works everywhere: its category is
/// [`UNKNOWN_CATEGORY`] and its name is its id.
///
/// ```
/// use recsys::{Catalogue, CatalogueItem, ItemId};
/// let mut catalogue = Catalogue::default();
/// catalogue.upsert(CatalogueItem::new(ItemId::new("i1")?, "books", "Dune"));
/// assert_eq!(catalogue.category("i1"), "books");
/// assert_eq!(catalogue.category("i2"), "unknown");
/// assert_eq!(catalogue.name("i2"), "i2");
/// # Ok::<(), recsys::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    items: HashMap<Box<str>, CatalogueItem, foldhash::fast::RandomState>,
}

impl Catalogue {
    /// How many items it knows.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when it knows none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds the item or replaces what was known of it.
    pub fn upsert(&mut self, item: CatalogueItem) {
        self.items.insert(item.item_id.as_str().into(), item);
    }

    /// Forgets the item; false when it was not known.
    pub fn remove(&mut self, item: &str) -> bool {
        self.items.remove(item).is_some()
    }

    /// The item.
    pub fn get(&self, item: &str) -> Option<&CatalogueItem> {
        self.items.get(item)
    }

    /// Its category.
    pub fn category(&self, item: &str) -> &str {
        self.get(item)
            .map_or(UNKNOWN_CATEGORY, |known| &known.category)
    }

    /// Its name for people; its id where there is none.
    pub fn name<'a>(&'a self, item: &'a str) -> &'a str {
        self.get(item).map_or(item, CatalogueItem::display_name)
    }

    /// All items in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &CatalogueItem> {
        let mut all: Vec<_> = self.items.values().collect();
        all.sort_by(|a, b| a.item_id.cmp(&b.item_id));
        all.into_iter()
    }

    /// Reads a catalogue file into this one; returns how many items it had.
    ///
    /// `.jsonl`: one object a line, `{"item_id","category","name","attributes":{}}`. Anything else
    /// is read as CSV with a header: the columns `item` or `item_id`, `category`, `name`; any other
    /// column becomes an attribute.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Line`] for the first bad line, with
    /// everything before it taken in.
    pub fn load(&mut self, path: &Path) -> Result<u64> {
        let fail = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(fail)?;
        if path
            .extension()
            .is_some_and(|ext| ext == "jsonl" || ext == "ndjson")
        {
            self.load_jsonl(path, std::io::BufReader::new(file))
        } else {
            self.load_csv(path, file)
        }
    }

    fn load_jsonl(&mut self, path: &Path, lines: impl BufRead) -> Result<u64> {
        let mut count = 0;
        for (n, line) in lines.lines().enumerate() {
            let line = line.map_err(|source| Error::File {
                path: path.to_owned(),
                source,
            })?;
            if line.trim().is_empty() {
                continue;
            }
            let item: CatalogueItem = serde_json::from_str(&line)
                .map_err(|e| bad_line(path, n as u64 + 1, e.to_string()))?;
            item.validate()
                .map_err(|e| bad_line(path, n as u64 + 1, e.to_string()))?;
            self.upsert(item);
            count += 1;
        }
        Ok(count)
    }

    fn load_csv(&mut self, path: &Path, file: impl std::io::Read) -> Result<u64> {
        let mut reader = csv::Reader::from_reader(file);
        let header = reader
            .headers()
            .map_err(|e| bad_line(path, 1, e.to_string()))?
            .clone();
        let id_column = header
            .iter()
            .position(|name| matches!(name, "item" | "item_id" | "id"))
            .ok_or_else(|| bad_line(path, 1, "no column item or item_id".into()))?;
        let mut count = 0;
        let mut row = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            if !reader
                .read_record(&mut row)
                .map_err(|e| bad_line(path, line, e.to_string()))?
            {
                return Ok(count);
            }
            let id = ItemId::new(row.get(id_column).unwrap_or_default())
                .map_err(|e| bad_line(path, line, e.to_string()))?;
            let mut item = CatalogueItem::new(id, "", "");
            for (column, value) in header.iter().zip(row.iter()) {
                match column {
                    "item" | "item_id" | "id" => {}
                    "category" if !value.is_empty() => value.clone_into(&mut item.category),
                    "category" => {}
                    "name" | "title" => value.clone_into(&mut item.name),
                    other if !value.is_empty() => {
                        item.attributes.insert(other.to_owned(), value.to_owned());
                    }
                    _ => {}
                }
            }
            item.validate()
                .map_err(|e| bad_line(path, line, e.to_string()))?;
            self.upsert(item);
            count += 1;
        }
    }
}

fn bad_line(path: &Path, line: u64, problem: String) -> Error {
    Error::Line {
        path: path.to_owned(),
        line,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_both_kinds_are_read() {
        let mut catalogue = Catalogue::default();
        let csv = "item,category,name,stock\ni1,books,Dune,3\ni2,,,\n";
        assert_eq!(
            catalogue
                .load_csv(Path::new("c.csv"), csv.as_bytes())
                .unwrap(),
            2
        );
        assert_eq!(catalogue.get("i1").unwrap().attributes["stock"], "3");
        assert_eq!(catalogue.category("i2"), UNKNOWN_CATEGORY);
        let jsonl = "{\"item_id\":\"i1\",\"category\":\"film\"}\n\n{\"item_id\":\"\"}\n";
        let error = catalogue
            .load_jsonl(Path::new("c.jsonl"), jsonl.as_bytes())
            .unwrap_err();
        assert!(matches!(error, Error::Line { line: 3, .. }), "{error}");
        assert_eq!(catalogue.category("i1"), "film");
    }
}
