//! What the index says of how much there is.

use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::{Column, Hints, Select, SeriesSet as _};

use super::{NOW, append, open};

#[test]
fn few_series_are_counted_and_many_are_not() {
    let fixture = open(|_| {});
    for job in 0..40 {
        append(&fixture.store, &format!("j{job}"), &[(NOW, 1.0)]);
    }
    let count = |pairs: &[(MatchOp, &str, &str)], most| {
        let matchers: Vec<_> = pairs.iter().map(|(op, name, value)| Matcher::new(*op, name, value).unwrap()).collect();
        let hints = Hints { range: 300_000, function: "rate", ..Hints::default() };
        fixture.store.count_few(&Select { matchers, mint: NOW - 299_999, maxt: NOW, hints }, most)
    };
    let (up, one) = ((MatchOp::Equal, "__name__", "up"), (MatchOp::Equal, "job", "j7"));
    assert_eq!(count(&[up, one], 4), Some(1));
    assert_eq!(count(&[up], 40), Some(40));
    assert_eq!(count(&[up], 39), None);
    assert_eq!(count(&[up, (MatchOp::Equal, "job", "none")], 4), Some(0));
    assert_eq!(count(&[up, (MatchOp::NotEqual, "job", "j7")], 40), Some(39));
    // Nothing that bounds the search.
    assert_eq!(count(&[(MatchOp::NotEqual, "job", "j7")], 100), None);
    let few = |most| fixture.store.has_few_names(Some("job"), (NOW, NOW), most);
    assert!(few(40) && !few(39));
    // The same of blocks, as far as they are in memory.
    fixture.store.flush().unwrap();
    let found = fixture.store.select(&[], i64::MIN, i64::MAX);
    (0..found.len()).for_each(|index| found.read(index, &mut Column::default()).unwrap());
    assert_eq!(count(&[up, one], 4), Some(1));
    assert_eq!(count(&[up], 40), Some(40));
    assert_eq!(count(&[up], 39), None);
    assert!(few(40) && !few(39));
}
