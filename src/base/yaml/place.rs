//! Where in a text a key stands, for faults that are found after the text was read into structures.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A document in which only places matter.
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Leaf,
}

/// Line and column, from 1, of what a path of keys and positions (`["remote_write", "0", "url"]`) leads to: a key where
/// the last step is one, else an element. Steps that do not exist end the way: their parent is meant. None where
/// even the first step does not exist or the text is no document.
pub fn place(text: &str, path: &[String]) -> Option<(u64, u64)> {
    let options = serde_saphyr::options! { with_snippet: false };
    let root: Node = serde_saphyr::from_str_with_options(text, options).ok()?;
    let (mut node, mut at) = (&root, None);
    for step in path {
        let next = match node {
            Node::Map(entries) => {
                let entry = entries.iter().find(|(key, _)| key.value == *step);
                entry.map(|(key, value)| (of(key), &value.value))
            }
            Node::List(items) => {
                let item = step.parse::<usize>().ok().and_then(|index| items.get(index));
                item.map(|item| (of(item), &item.value))
            }
            Node::Leaf => None,
        };
        let Some((found, below)) = next else { break };
        (node, at) = (below, Some(found));
    }
    at.filter(|(line, _)| *line > 0)
}

fn of<T>(spanned: &Spanned<T>) -> (u64, u64) {
    (spanned.referenced.line(), spanned.referenced.column())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Places)
    }
}

struct Places;

impl<'de> Visitor<'de> for Places {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &[&str], expect: Option<(u64, u64)>) {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        assert_eq!(place(text, &path), expect);
    }

    #[test]
    fn keys_and_elements_are_found() {
        let text = "a: 1\nlist:\n  - name: x\n    deep: {one: true, 'two': ~}\n  -\n  - [p, q]\n";
        check(text, &["a"], Some((1, 1)));
        check(text, &["list", "0", "deep", "two"], Some((4, 23)));
        check(text, &["list", "2", "1"], Some((6, 9)));
        check(text, &["list", "1"], Some((5, 4)));
    }

    #[test]
    fn what_does_not_exist_is_its_parent() {
        let text = "list:\n  - name: x\n";
        check(text, &["list", "0", "url"], Some((2, 5)));
        check(text, &["nothing"], None);
        check("a: [", &["a"], None);
    }
}
