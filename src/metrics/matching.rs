//! Finds the series of a shard that fulfil matchers, through its label index.

use std::ops::Bound;

use regex_syntax::hir::{Class, Hir, HirKind, Look};
use roaring::RoaringBitmap;

use crate::model::matcher::{MatchOp, Matcher};

use super::postings::{Postings, Slots, Values};

/// A matcher, with what its regex says without being run.
pub(super) struct Plan<'a> {
    matcher: &'a Matcher,
    /// Whether a series without the label fulfils it.
    matches_empty: bool,
    shape: Shape,
}

/// What the values that a regex accepts look like.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// Exactly these.
    Literals(Vec<String>),
    /// All of them begin like this.
    Prefix(String),
    /// Everything that is not empty (`.+`), or everything (`.*`).
    Anything,
    Unknown,
}

/// Most literals that a regex is expanded to.
const LITERALS_MAX: usize = 1_000;

impl<'a> Plan<'a> {
    pub(super) fn new(matcher: &'a Matcher) -> Self {
        let shape = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => Shape::Literals(vec![matcher.value.to_string()]),
            MatchOp::Regex | MatchOp::NotRegex => shape_of(&matcher.value),
        };
        Self { matcher, matches_empty: matcher.matches(""), shape }
    }

    /// The series of a shard that have the label with a value that the condition (without its negation) accepts, cut
    /// to those in `within` by the caller.
    fn accepted(&self, values: &Values) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        // The index is walked for the condition without its negation: it usually accepts fewer values.
        let negated = matches!(self.matcher.op, MatchOp::NotEqual | MatchOp::NotRegex);
        let accepts = |value: &str| self.matcher.matches(value) != negated;
        match &self.shape {
            Shape::Literals(literals) => {
                for slots in literals.iter().filter_map(|literal| values.get(literal.as_str())) {
                    slots.add_to(&mut set);
                }
            }
            Shape::Prefix(prefix) => {
                let range = values.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
                for (value, slots) in range.take_while(|(value, _)| value.starts_with(prefix.as_str())) {
                    if accepts(value) {
                        slots.add_to(&mut set);
                    }
                }
            }
            Shape::Anything | Shape::Unknown => {
                for (value, slots) in values {
                    if self.shape == Shape::Anything || accepts(value) {
                        slots.add_to(&mut set);
                    }
                }
            }
        }
        set
    }

    /// The series that have exactly the pair that is asked for; `None` where nobody has it.
    fn pair<'p>(&self, postings: &'p Postings) -> Option<&'p Slots> {
        postings.values(&self.matcher.name)?.get(&*self.matcher.value)
    }

    /// The series that have the label with a value that fulfils the condition.
    fn present(&self, postings: &Postings) -> RoaringBitmap {
        let Some(values) = postings.values(&self.matcher.name) else { return RoaringBitmap::new() };
        let set = self.accepted(values);
        if !self.excludes() {
            return set;
        }
        let mut with_label = RoaringBitmap::new();
        for slots in values.values() {
            slots.add_to(&mut with_label);
        }
        with_label - set
    }

    /// Whether the answer is every series but those that `accepted` finds.
    fn excludes(&self) -> bool {
        matches!(self.matcher.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }
}

/// The slots that fulfil every matcher. Without matchers: all.
pub(super) fn find(postings: &Postings, plans: &[Plan<'_>]) -> RoaringBitmap {
    // Conditions that an absent label does not fulfil narrow the set by the index alone: they come first, and of them
    // pairs, the rarest ahead.
    let (exact, other): (Vec<_>, Vec<_>) =
        plans.iter().filter(|plan| !plan.matches_empty).partition(|plan| plan.matcher.op == MatchOp::Equal);
    let pairs: Option<Vec<&Slots>> = exact.iter().map(|plan| plan.pair(postings)).collect();
    let Some(mut pairs) = pairs else { return RoaringBitmap::new() };
    pairs.sort_unstable_by_key(|slots| slots.len());
    let exact = pairs.into_iter().map(Slots::to_bitmap);
    let other = other.into_iter().map(|plan| plan.present(postings));
    let mut found: Option<RoaringBitmap> = None;
    for set in exact.chain(other) {
        let cut = match found {
            Some(found) => found & set,
            None => set,
        };
        if cut.is_empty() {
            return cut;
        }
        found = Some(cut);
    }
    let mut found = found.unwrap_or_else(|| postings.all().clone());
    for plan in plans.iter().filter(|plan| plan.matches_empty) {
        let Some(values) = postings.values(&plan.matcher.name) else { continue };
        if plan.excludes() {
            found -= plan.accepted(values);
        } else {
            // Fulfilled by absence: what has the label with another value goes.
            for (value, slots) in values {
                if !plan.matcher.matches(value) {
                    found -= slots.to_bitmap();
                }
            }
        }
    }
    found
}

/// What a regex accepts, anchored at both ends.
fn shape_of(pattern: &str) -> Shape {
    // Inside brackets these mean set algebra to our parser and plain characters to RE2: let the matcher decide.
    if ["&&", "--", "~~", "[["].iter().any(|algebra| pattern.contains(algebra)) {
        return Shape::Unknown;
    }
    let parsed = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern);
    let Ok(hir) = parsed else { return Shape::Unknown };
    if let HirKind::Repetition(repetition) = hir.kind()
        && repetition.max.is_none()
        && repetition.min <= 1
        && is_any_character(&repetition.sub)
    {
        return Shape::Anything;
    }
    if let Some(literals) = literals_of(&hir) {
        return Shape::Literals(literals);
    }
    let mut prefix = String::new();
    push_prefix(&hir, &mut prefix);
    if prefix.is_empty() { Shape::Unknown } else { Shape::Prefix(prefix) }
}

fn is_any_character(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            ranges.len() == 1 && ranges.first().is_some_and(|r| r.start() == '\0' && r.end() == char::MAX)
        }
        HirKind::Capture(capture) => is_any_character(&capture.sub),
        _ => false,
    }
}

/// Every string that an expression accepts, if they are few.
fn literals_of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Capture(capture) => literals_of(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => {
            let mut out = Vec::new();
            for range in class.ranges() {
                for c in range.start()..=range.end() {
                    if out.len() >= LITERALS_MAX {
                        return None;
                    }
                    out.push(c.to_string());
                }
            }
            Some(out)
        }
        HirKind::Alternation(parts) => {
            let mut out = Vec::new();
            for part in parts {
                out.extend(literals_of(part)?);
                if out.len() > LITERALS_MAX {
                    return None;
                }
            }
            out.sort_unstable();
            out.dedup();
            Some(out)
        }
        HirKind::Concat(parts) => {
            let mut out = vec![String::new()];
            for part in parts {
                let tails = literals_of(part)?;
                if out.len() * tails.len() > LITERALS_MAX {
                    return None;
                }
                out = out.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
            }
            Some(out)
        }
        _ => None,
    }
}

/// Collects the literal beginning; answers whether the whole expression was literal, so that the next part goes on.
fn push_prefix(hir: &Hir, prefix: &mut String) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => {
                prefix.push_str(text);
                true
            }
            Err(_) => false,
        },
        HirKind::Capture(capture) => push_prefix(&capture.sub, prefix),
        HirKind::Concat(parts) => parts.iter().all(|part| push_prefix(part, prefix)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::labels::Labels;

    use super::*;

    fn shard() -> Postings {
        let mut postings = Postings::default();
        let series: [&[(&str, &str)]; 5] = [
            &[("__name__", "up"), ("job", "api")],
            &[("__name__", "up"), ("job", "db")],
            &[("__name__", "up")],
            &[("__name__", "down"), ("job", "apis")],
            &[("__name__", "down"), ("job", "web"), ("zone", "a")],
        ];
        for (slot, labels) in series.iter().enumerate() {
            postings.insert(slot as u32, &Labels::from_pairs(labels.iter().copied()));
        }
        postings
    }

    #[track_caller]
    fn check(matchers: &[(&str, MatchOp, &str)], expect: &[u32]) {
        let matchers: Vec<Matcher> =
            matchers.iter().map(|(name, op, value)| Matcher::new(*op, name, value).unwrap()).collect();
        let plans: Vec<Plan<'_>> = matchers.iter().map(Plan::new).collect();
        assert_eq!(find(&shard(), &plans).iter().collect::<Vec<_>>(), expect);
    }

    #[test]
    fn matchers_find_what_a_scan_would() {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        check(&[], &[0, 1, 2, 3, 4]);
        check(&[("__name__", Equal, "up")], &[0, 1, 2]);
        check(&[("__name__", Equal, "up"), ("job", Equal, "")], &[2]);
        check(&[("__name__", Equal, "up"), ("job", NotEqual, "")], &[0, 1]);
        check(&[("job", NotEqual, "api")], &[1, 2, 3, 4]);
        check(&[("job", Regex, "api.*")], &[0, 3]);
        check(&[("job", Regex, "api|db|")], &[0, 1, 2]);
        check(&[("job", NotRegex, "a.*|web")], &[1, 2]);
        check(&[("job", NotRegex, "")], &[0, 1, 3, 4]);
        check(&[("job", Regex, ".+"), ("zone", Regex, ".*")], &[0, 1, 3, 4]);
        check(&[("job", NotRegex, ".*")], &[]);
        check(&[("absent", Equal, "x")], &[]);
        check(&[("absent", NotEqual, "x"), ("job", Regex, "(a|w)[pe][ib]s?")], &[0, 3, 4]);
    }

    #[test]
    fn regexes_are_seen_through() {
        let literals = |list: &[&str]| Shape::Literals(list.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(shape_of("a|b"), literals(&["a", "b"]));
        assert_eq!(shape_of("node-[12]"), literals(&["node-1", "node-2"]));
        assert_eq!(shape_of("node-.*"), Shape::Prefix("node-".to_owned()));
        assert_eq!(shape_of(".+"), Shape::Anything);
        assert_eq!(shape_of(".*x"), Shape::Unknown);
        assert_eq!(shape_of("(?i)a"), literals(&["A", "a"]));
    }
}
