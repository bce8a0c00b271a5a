//! Promise: what is written down as under way comes back once, in order, where it belongs.

use super::*;
use crate::codec;
use crate::runtime::exchange::Route;

/// By the value itself.
struct Modulo(usize);

impl Route<u64> for Modulo {
    fn route(&mut self, value: &u64) -> Result<Target> {
        Ok(Target::One(*value as usize % self.0))
    }
}

fn edges(n: usize) -> Vec<InputEdge<u64>> {
    let edge = |edge| InputEdge {
        edge,
        codec: Some(codec::as_state::<u64>()),
        route: Arc::new(|_, n| Ok(Box::new(Modulo(n)) as Box<dyn Route<u64>>)),
    };
    (0..n).map(edge).collect()
}

fn item(edge: usize, values: &[u64]) -> Vec<u8> {
    let at = |value: &u64| Element::at(*value, Timestamp::from_millis(*value as i64 - 5));
    let elements: Vec<Element<u64>> = values.iter().map(at).collect();
    let mut out = header(edge);
    write(&elements, &codec::as_state::<u64>(), &mut out).unwrap();
    out
}

/// `(connection, values)` of each new subtask.
fn dealt(old: &[Vec<Vec<u8>>], parallelism: usize) -> Vec<Vec<(usize, Vec<u64>)>> {
    let old: Vec<Vec<&[u8]>> = old
        .iter()
        .map(|items| items.iter().map(Vec::as_slice).collect())
        .collect();
    let route = |_| Ok(Box::new(Modulo(parallelism)) as Box<dyn Route<u64>>);
    let new = redistributed(&old, &edges(2), parallelism, route).unwrap();
    let values = |recovered: Recovered<u64>| {
        let elements = recovered.elements.into_iter();
        let values = elements.map(|element| {
            assert_eq!(element.timestamp.as_millis(), element.value as i64 - 5);
            element.value
        });
        (recovered.edge, values.collect())
    };
    new.into_iter()
        .map(|parts| parts.into_iter().map(values).collect())
        .collect()
}

#[test]
fn as_many_subtasks_get_their_own() {
    let old = [
        vec![item(0, &[7, 3]), item(1, &[9])],
        vec![],
        vec![item(1, &[1])],
    ];
    let new = dealt(&old, 3);
    // wherever they would be routed now
    assert_eq!(new[0], [(0, vec![7, 3]), (1, vec![9])]);
    assert_eq!(new[1], []);
    assert_eq!(new[2], [(1, vec![1])]);
}

#[test]
fn other_subtasks_get_what_is_routed_to_them_in_order() {
    let old = [vec![item(0, &[5, 2, 1, 8, 3])], vec![item(1, &[4, 7])]];
    let new = dealt(&old, 3);
    assert_eq!(new[0], [(0, vec![3])]);
    assert_eq!(new[1], [(0, vec![1]), (1, vec![4, 7])]);
    assert_eq!(new[2], [(0, vec![5, 2, 8])]);
    assert_eq!(
        dealt(&old, 1),
        [[(0, vec![5, 2, 1, 8, 3]), (1, vec![4, 7])]]
    );
}

#[test]
fn torn_bytes_and_unknown_connections_are_refused() {
    let whole = item(0, &[1, 2, 300]);
    for length in 0..whole.len() {
        if let Ok(recovered) = read(&whole[..length], &edges(1)) {
            // cut between two elements: fewer of them, none changed
            let values: Vec<u64> = recovered.elements.iter().map(|e| e.value).collect();
            assert!([1, 2, 300].starts_with(&values), "{length}");
        }
    }
    assert!(read(&item(4, &[1]), &edges(2)).is_err());
    let plain = [InputEdge {
        codec: None,
        ..edges(1).remove(0)
    }];
    assert!(read(&whole, &plain).is_err());
}
