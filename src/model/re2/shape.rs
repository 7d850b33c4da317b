//! What can be said about the texts that an expression matches, without running it.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// Most texts that an expression is expanded to: more than the longest list that a dashboard variable makes.
const SET_MAX: usize = 4096;

/// Most bytes that are written while expanding, so that a hostile expression costs a millisecond at most.
const WORK_BYTES_MAX: usize = 1 << 20;

/// The texts that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Exactly these, ascending, without repeats. May be empty.
    Set(Arc<[Box<str>]>),
    /// All (`.*`).
    Everything,
    /// All but the empty one (`.+`).
    NotEmpty,
    /// All of them begin like this; with `rest_is_free`, all that begin like this match (`a.*`).
    Prefix { prefix: Box<str>, rest_is_free: bool },
    /// Those that end like this (`.*a`).
    Suffix(Box<str>),
    /// Those in which this occurs (`.*a.*`).
    Contains(Box<str>),
    /// Only running it tells.
    Other,
}

impl Shape {
    pub(super) fn of(hir: &Hir) -> Self {
        if let Some(set) = (Expansion { budget: WORK_BYTES_MAX }).whole(hir) {
            return Self::Set(set.into_iter().map(String::into_boxed_str).collect());
        }
        match parts(inside(hir)) {
            [one] if is_anything(one, 0) => Self::Everything,
            [one] if is_anything(one, 1) => Self::NotEmpty,
            [first, last] if is_anything(first, 0) => literal(last).map_or(Self::Other, Self::Suffix),
            [first, middle, last] if is_anything(first, 0) && is_anything(last, 0) => {
                literal(middle).map_or(Self::Other, Self::Contains)
            }
            [first, rest @ ..] => match literal(first) {
                Some(prefix) => {
                    let rest_is_free = matches!(rest, [last] if is_anything(last, 0));
                    Self::Prefix { prefix, rest_is_free }
                }
                None => Self::Other,
            },
            [] => Self::Other,
        }
    }
}

/// Whether a sorted set has the text.
pub(super) fn contains(set: &[Box<str>], text: &str) -> bool {
    set.binary_search_by(|value| (**value).cmp(text)).is_ok()
}

/// What a group has inside.
fn inside(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => inside(&capture.sub),
        _ => hir,
    }
}

/// The parts of a concatenation, without `^` before and `$` behind: everything is anchored anyway.
fn parts(hir: &Hir) -> &[Hir] {
    let mut parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    while let [first, rest @ ..] = parts
        && matches!(first.kind(), HirKind::Look(Look::Start))
    {
        parts = rest;
    }
    while let [rest @ .., last] = parts
        && matches!(last.kind(), HirKind::Look(Look::End))
    {
        parts = rest;
    }
    parts
}

fn literal(hir: &Hir) -> Option<Box<str>> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(Box::from),
        _ => None,
    }
}

/// Any text of at least `min` characters.
fn is_anything(hir: &Hir, min: u32) -> bool {
    let HirKind::Repetition(repetition) = inside(hir).kind() else { return false };
    let HirKind::Class(Class::Unicode(class)) = inside(&repetition.sub).kind() else { return false };
    let whole = matches!(class.ranges(), [range] if range.start() == '\0' && range.end() == char::MAX);
    whole && repetition.min == min && repetition.max.is_none()
}

/// Lists the texts that match, while they are few and the work is little.
struct Expansion {
    /// Bytes that may still be written.
    budget: usize,
}

impl Expansion {
    /// An expression at its ends: what stands between `^` and `$`.
    fn whole(&mut self, hir: &Hir) -> Option<BTreeSet<String>> {
        match hir.kind() {
            HirKind::Capture(capture) => self.whole(&capture.sub),
            HirKind::Alternation(branches) => self.union(branches, Self::whole),
            _ => self.concat(parts(hir)),
        }
    }

    fn part(&mut self, hir: &Hir) -> Option<BTreeSet<String>> {
        match hir.kind() {
            HirKind::Empty => Some(BTreeSet::from([String::new()])),
            HirKind::Literal(literal) => Some(BTreeSet::from([std::str::from_utf8(&literal.0).ok()?.to_owned()])),
            HirKind::Class(Class::Unicode(class)) => {
                let count: usize = class.iter().map(|range| range.len()).sum();
                self.spend(count)?;
                let few = count <= SET_MAX;
                few.then(|| class.iter().flat_map(|range| range.start()..=range.end()).map(String::from).collect())
            }
            HirKind::Capture(capture) => self.part(&capture.sub),
            HirKind::Alternation(branches) => self.union(branches, Self::part),
            HirKind::Concat(parts) => self.concat(parts),
            HirKind::Repetition(repetition) => self.repetition(repetition),
            HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => None,
        }
    }

    fn union(
        &mut self,
        branches: &[Hir],
        expand: fn(&mut Self, &Hir) -> Option<BTreeSet<String>>,
    ) -> Option<BTreeSet<String>> {
        let mut set = BTreeSet::new();
        for branch in branches {
            set.append(&mut expand(self, branch)?);
            if set.len() > SET_MAX {
                return None;
            }
        }
        Some(set)
    }

    fn concat(&mut self, parts: &[Hir]) -> Option<BTreeSet<String>> {
        let mut set = BTreeSet::from([String::new()]);
        for part in parts {
            let tails = self.part(part)?;
            set = self.product(&set, &tails)?;
        }
        Some(set)
    }

    fn repetition(&mut self, repetition: &Repetition) -> Option<BTreeSet<String>> {
        let max = repetition.max?;
        let sub = self.part(&repetition.sub)?;
        let mut set = BTreeSet::new();
        let mut power = BTreeSet::from([String::new()]);
        for count in 0..=max {
            if count > 0 {
                power = self.product(&power, &sub)?;
            }
            if count >= repetition.min {
                self.spend(power.iter().map(String::len).sum())?;
                set.extend(power.iter().cloned());
            }
        }
        (set.len() <= SET_MAX).then_some(set)
    }

    /// Each of the first followed by each of the second.
    fn product(&mut self, heads: &BTreeSet<String>, tails: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        let count = heads.len().checked_mul(tails.len()).filter(|count| *count <= SET_MAX)?;
        let bytes = |set: &BTreeSet<String>| set.iter().map(String::len).sum::<usize>();
        self.spend(count + bytes(heads) * tails.len() + bytes(tails) * heads.len())?;
        Some(heads.iter().flat_map(|head| tails.iter().map(move |tail| head.clone() + tail)).collect())
    }

    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(bytes)?;
        Some(())
    }
}
