//! Classes of characters: `[...]`, `\d`, `\pL`, `[:alpha:]`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use crate::model::re2::RegexError;
use crate::model::re2::parse::{Parser, fault};

pub(super) fn class_of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)))
}

/// The class of `\d`, `\s`, `\w` and their opposites, ASCII only.
pub(super) fn perl_class(letter: char, fold: bool) -> Option<ClassUnicode> {
    let mut class = match letter.to_ascii_lowercase() {
        'd' => class_of(&[('0', '9')]),
        's' => class_of(&[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')]),
        'w' => class_of(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        _ => return None,
    };
    if fold {
        class.case_fold_simple();
    }
    if letter.is_ascii_uppercase() {
        class.negate();
    }
    Some(class)
}

fn posix_class(name: &str) -> Option<ClassUnicode> {
    Some(class_of(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\u{7f}')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    }))
}

/// A category or script of Unicode, from the tables of `regex-syntax`.
fn unicode_class(name: &str) -> Option<ClassUnicode> {
    if name == "Any" {
        return Some(class_of(&[('\0', char::MAX)]));
    }
    let plain = !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    let hir = plain.then(|| regex_syntax::parse(&format!("\\p{{{name}}}")).ok())??;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A category of one character.
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            Some(class_of(&text.chars().map(|c| (c, c)).collect::<Vec<_>>()))
        }
        _ => None,
    }
}

impl Parser<'_> {
    /// A class in brackets, the first of which has been read.
    pub(super) fn bracket_class(&mut self, start: usize) -> Result<ClassUnicode, RegexError> {
        let negated = self.accept('^');
        let mut class = ClassUnicode::empty();
        let mut first = true;
        loop {
            match self.peek() {
                None => return Err(fault("missing closing ]", self.from(start))),
                Some(']') if !first => {
                    self.next();
                    break;
                }
                Some(_) => self.class_item(&mut class)?,
            }
            first = false;
        }
        if self.flags.fold {
            class.case_fold_simple();
        }
        if negated {
            class.negate();
        }
        Ok(class)
    }

    fn class_item(&mut self, class: &mut ClassUnicode) -> Result<(), RegexError> {
        let start = self.pos;
        if let Some(posix) = self.posix()? {
            class.union(&posix);
            return Ok(());
        }
        if self.rest().starts_with('\\')
            && let Some(named) = self.named_class()?
        {
            class.union(&named);
            return Ok(());
        }
        let low = self.class_char()?;
        let mut high = low;
        // A minus before the closing bracket stands for itself.
        if self.rest().starts_with('-') && !self.rest().starts_with("-]") && self.rest().len() > 1 {
            self.next();
            high = self.class_char()?;
            if high < low {
                return Err(fault("invalid character class range", self.between(start)));
            }
        }
        class.push(ClassUnicodeRange::new(low, high));
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, RegexError> {
        let start = self.pos;
        match self.next() {
            Some('\\') => self.escaped_char(start),
            Some(c) => Ok(c),
            None => Err(fault("missing closing ]", self.from(start))),
        }
    }

    /// `[:alpha:]` or `[:^alpha:]`, if next.
    fn posix(&mut self) -> Result<Option<ClassUnicode>, RegexError> {
        let Some(end) = self.rest().strip_prefix("[:").and_then(|rest| rest.find(":]")) else {
            return Ok(None);
        };
        let start = self.pos;
        let name = self.rest().get(2..2 + end).unwrap_or_default();
        let (name, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let class = posix_class(name);
        self.pos += end + 4;
        let mut class = class.ok_or_else(|| fault("invalid character class range", self.between(start)))?;
        if self.flags.fold {
            class.case_fold_simple();
        }
        if negated {
            class.negate();
        }
        Ok(Some(class))
    }

    /// `\d`, `\pL`, `\P{Greek}`, if next.
    pub(super) fn named_class(&mut self) -> Result<Option<ClassUnicode>, RegexError> {
        let start = self.pos;
        let Some(letter) = self.rest().chars().nth(1) else { return Ok(None) };
        if let Some(class) = perl_class(letter, self.flags.fold) {
            self.pos += 2;
            return Ok(Some(class));
        }
        if !matches!(letter, 'p' | 'P') {
            return Ok(None);
        }
        self.pos += 2;
        let name = match self.next() {
            Some('{') => {
                let Some(end) = self.rest().find('}') else {
                    return Err(fault("invalid character class range", self.from(start)));
                };
                let name = self.rest().get(..end).unwrap_or_default();
                self.pos += end + 1;
                name
            }
            Some(c) => self.text.get(self.pos - c.len_utf8()..self.pos).unwrap_or_default(),
            None => "",
        };
        let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let mut class =
            unicode_class(name).ok_or_else(|| fault("invalid character class range", self.between(start)))?;
        if self.flags.fold {
            class.case_fold_simple();
        }
        if inverted != (letter == 'P') {
            class.negate();
        }
        Ok(Some(class))
    }
}
