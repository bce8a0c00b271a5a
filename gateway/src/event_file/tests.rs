use super::*;
use std::io::Write;

fn read(path: &Path) -> (Vec<UserEvent>, Vec<BadLine>) {
    let mut file = EventFile::open(path).unwrap();
    let (mut events, mut bad) = (Vec::new(), Vec::new());
    while let Some(next) = file.read().unwrap() {
        match next {
            FileEvent::Event(event) => events.push(event),
            FileEvent::Bad(line) => bad.push(line),
        }
    }
    assert_eq!(file.consumed(), file.length());
    (events, bad)
}

#[test]
fn csv_columns_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.csv");
    let text = "item,user,page,timestamp_ms,event_type,session\r\n\
        i1,u1,2,1000,view,s1\n\
        \n\
        \"i,2\",u2,,2000,Purchase,\n\
        i3,u3,1,never,view,\n\
        i3,u3,1,3000,stare,\n\
        i3\n";
    fs::write(&path, text).unwrap();
    let (events, bad) = read(&path);
    assert_eq!(events.len(), 2, "{bad:?}");
    assert_eq!(events[0].metadata["page"], "2");
    assert_eq!(
        (events[0].session_id.as_str(), events[0].timestamp_ms),
        ("s1", 1000)
    );
    assert_eq!(
        (events[1].item_id.as_str(), events[1].event_type),
        ("i,2", 4)
    );
    assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(bad[1].problem.contains("event_type"), "{bad:?}");
}

#[test]
fn packed_lines_of_json_are_read_and_bad_ones_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.jsonl.gz");
    let mut text = String::from(
        r#"{"user_id":"u","item_id":"i","event_type":"like","timestamp":1700000000,"session_id":"s","metadata":{"a":"x","b":[1]}}"#,
    );
    text.push_str("\n{\"user_id\":\n");
    text.push_str(&format!("{{\"user_id\":\"{}\"}}\n", "x".repeat(2 << 20)));
    text.push_str(r#"{"user_id":"u","item_id":"i","event_type":"view","timestamp":1700000001}"#);
    let file = fs::File::create(&path).unwrap();
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap();
    let (events, bad) = read(&path);
    assert_eq!(events.len(), 2, "{bad:?}");
    assert_eq!(events[0].timestamp_ms, 1_700_000_000_000);
    assert_eq!(
        (
            events[0].metadata["a"].as_str(),
            events[0].metadata["b"].as_str()
        ),
        ("x", "[1]")
    );
    assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 3]);
    assert!(bad[1].problem.contains("longer"), "{bad:?}");
}

#[test]
fn a_header_without_a_column_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.csv");
    fs::write(&path, "user,item,timestamp_ms\n").unwrap();
    let error = EventFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("event_type"), "{error}");
}
