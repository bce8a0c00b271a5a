//! The columns of a CSV file, found by its header.

use crate::{
    convert,
    proto::v1::{EventType, UserEvent},
};

/// Where the columns are.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    user: usize,
    item: usize,
    event_type: usize,
    timestamp: usize,
    unit: Unit,
    session: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Milliseconds,
    Seconds,
}

impl Columns {
    pub(super) fn find(header: &[u8]) -> Result<Self, String> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let header = std::str::from_utf8(header).map_err(|_| "the header is not UTF-8")?;
        let names: Vec<String> = parse(header)?
            .iter()
            .map(|name| name.trim().to_lowercase())
            .collect();
        let find = |wanted: &[&str]| {
            names
                .iter()
                .position(|name| wanted.contains(&name.as_str()))
        };
        let need = |wanted: &[&str]| {
            find(wanted).ok_or_else(|| format!("the header has no column {}", wanted[0]))
        };
        let (timestamp, unit) = match find(&["timestamp_ms"]) {
            Some(column) => (column, Unit::Milliseconds),
            None => (need(&["timestamp_ms", "timestamp"])?, Unit::Seconds),
        };
        Ok(Self {
            user: need(&["user", "user_id"])?,
            item: need(&["item", "item_id"])?,
            event_type: need(&["event_type", "type", "event"])?,
            timestamp,
            unit,
            session: find(&["session", "session_id"]),
            names,
        })
    }

    pub(super) fn event(&self, line: &str) -> Result<UserEvent, String> {
        let record = parse(line)?;
        let field = |column: usize| record.get(column).unwrap_or_default().trim();
        let text = field(self.timestamp);
        let timestamp_ms = match self.unit {
            Unit::Milliseconds => text
                .parse()
                .map_err(|_| format!("timestamp_ms: {text:?} is no whole number"))?,
            Unit::Seconds => {
                let seconds: f64 = text
                    .parse()
                    .map_err(|_| format!("timestamp: {text:?} is no number of seconds"))?;
                // `as` saturates, and validation refuses what is out of range.
                (seconds * 1000.0).round() as i64
            }
        };
        let mut event = UserEvent {
            user_id: field(self.user).to_owned(),
            item_id: field(self.item).to_owned(),
            event_type: event_type(field(self.event_type))?.into(),
            timestamp_ms,
            session_id: self
                .session
                .map(|at| field(at).to_owned())
                .unwrap_or_default(),
            ..UserEvent::default()
        };
        let used = [self.user, self.item, self.event_type, self.timestamp];
        for (column, name) in self.names.iter().enumerate() {
            let value = field(column);
            if !used.contains(&column) && Some(column) != self.session && !value.is_empty() {
                event.metadata.insert(name.clone(), value.to_owned());
            }
        }
        Ok(event)
    }
}

fn event_type(name: &str) -> Result<EventType, String> {
    name.to_lowercase()
        .parse::<recsys::EventType>()
        .map(convert::event_type_to_proto)
        .map_err(|error| error.to_string())
}

fn parse(line: &str) -> Result<csv::StringRecord, String> {
    // Most lines have no quotes, and a reader of its own for a line costs more than the line.
    if !line.contains('"') {
        return Ok(line.split(',').collect());
    }
    let mut record = csv::StringRecord::new();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(line.as_bytes());
    match reader.read_record(&mut record) {
        Ok(_) => Ok(record),
        Err(error) => Err(error.to_string()),
    }
}
