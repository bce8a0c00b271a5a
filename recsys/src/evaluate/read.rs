use std::io::{BufReader, Read};
use std::path::Path;

use hashbrown::HashMap;

use crate::error::{Error, Result};

/// Strings to numbers in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    names: Vec<Box<str>>,
}

impl Names {
    pub(crate) fn id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = self.names.len() as u32;
        self.ids.insert(name.into(), id);
        self.names.push(name.into());
        id
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    pub(crate) fn name(&self, id: u32) -> &str {
        self.names.get(id as usize).map_or("", |name| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) user: u32,
    pub(crate) item: u32,
    pub(crate) kind: u32,
    pub(crate) at_ms: i64,
}

/// Which column is the user of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    User,
    /// The session, or the user in a file without sessions.
    Session,
}

#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) users: Names,
    pub(crate) items: Names,
    pub(crate) kinds: Names,
}

impl Tables {
    /// Reads a `.csv` or `.csv.gz` file, columns by header, and puts it in order of time.
    pub(crate) fn read(&mut self, path: &Path, actor: Actor) -> Result<Vec<Row>> {
        let fail = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let file = BufReader::new(std::fs::File::open(path).map_err(fail)?);
        let input: Box<dyn Read> = if path.extension().is_some_and(|ext| ext == "gz") {
            Box::new(flate2::bufread::MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let bad = |line, problem: String| Error::Line {
            path: path.to_owned(),
            line,
            problem,
        };
        let mut reader = csv::Reader::from_reader(input);
        let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
        let column = |names: &[&str]| header.iter().position(|h| names.contains(&h.trim()));
        let need = |names: &[&str]| {
            column(names).ok_or_else(|| bad(1, format!("no column {}", names.join(" or "))))
        };
        let user_at = need(&["user", "user_id"]).or_else(|e| match actor {
            Actor::Session => need(&["session", "session_id"]),
            Actor::User => Err(e),
        })?;
        let session_at = match actor {
            Actor::Session => column(&["session", "session_id"]).unwrap_or(user_at),
            Actor::User => user_at,
        };
        let item_at = need(&["item", "item_id"])?;
        let kind_at = column(&["event_type", "type", "event"]);
        let time_at = need(&["timestamp_ms", "timestamp"])?;
        let seconds = column(&["timestamp_ms"]).is_none();
        let mut rows = Vec::new();
        let mut row = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            if !reader
                .read_record(&mut row)
                .map_err(|e| bad(line, e.to_string()))?
            {
                break;
            }
            let field = |at: usize| row.get(at).unwrap_or_default();
            let mut session = field(session_at);
            if session.is_empty() {
                session = field(user_at);
            }
            let at = field(time_at);
            let at_ms: i64 = at
                .trim()
                .parse()
                .map_err(|_| bad(line, format!("bad time {at:?}")))?;
            rows.push(Row {
                user: self.users.id(session),
                item: self.items.id(field(item_at)),
                kind: self.kinds.id(kind_at.map_or("click", field)),
                at_ms: if seconds {
                    at_ms.saturating_mul(1000)
                } else {
                    at_ms
                },
            });
        }
        rows.sort_by_key(|row| row.at_ms); // stable: ties keep the order of the file
        Ok(rows)
    }
}
