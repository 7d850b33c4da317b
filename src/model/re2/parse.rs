//! RE2 syntax to the tree that `regex-automata` compiles.

use regex_syntax::hir::{Capture, Class, ClassUnicode, Hir, Look, Repetition};

use crate::model::re2::RegexError;
use crate::model::re2::class::class_of;

/// How deep groups nest. The compiler recurses over the tree.
const NESTING_MAX: u32 = 100;

/// Largest count in `{n,m}`, as in RE2, also for nested ones multiplied.
const REPEAT_MAX: u32 = 1000;

#[derive(Clone, Copy)]
pub(super) struct Flags {
    /// `i`.
    pub(super) fold: bool,
    /// `m`: `^` and `$` match at lines.
    multi_line: bool,
    /// `s`: `.` matches newlines.
    dot_all: bool,
    /// `U`: greedy and lazy change places.
    swap_greed: bool,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) pos: usize,
    pub(super) flags: Flags,
    groups: u32,
    names: Vec<&'a str>,
    nesting: u32,
}

/// Says what is wrong with which part; a long part is cut.
pub(super) fn fault(what: &str, part: &str) -> RegexError {
    const PART_CHARS_MAX: usize = 256;
    let part = part.char_indices().nth(PART_CHARS_MAX).and_then(|(end, _)| part.get(..end)).unwrap_or(part);
    RegexError(format!("{what}: `{part}`"))
}

/// Reads an expression; with `dot_all` as if it stood in `(?s:...)`.
pub(super) fn parse(text: &str, dot_all: bool) -> Result<Hir, RegexError> {
    let flags = Flags { fold: false, multi_line: false, dot_all, swap_greed: false };
    let mut parser = Parser { text, pos: 0, flags, groups: 0, names: Vec::new(), nesting: 0 };
    let (hir, _) = parser.alternation()?;
    if parser.pos < text.len() {
        return Err(fault("unexpected )", text));
    }
    Ok(hir)
}

impl<'a> Parser<'a> {
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    pub(super) fn from(&self, start: usize) -> &'a str {
        self.text.get(start..).unwrap_or_default()
    }

    pub(super) fn between(&self, start: usize) -> &'a str {
        self.text.get(start..self.pos).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    pub(super) fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Up to the end or an unopened parenthesis. Also gives the largest product of nested repeat counts.
    fn alternation(&mut self) -> Result<(Hir, u32), RegexError> {
        let mut branches = Vec::new();
        let mut branch = Vec::new();
        let mut repeats = 1;
        loop {
            match self.peek() {
                None | Some(')') => break,
                Some('|') => {
                    self.next();
                    branches.push(Hir::concat(std::mem::take(&mut branch)));
                }
                Some('\\') if self.rest().starts_with("\\Q") => {
                    let mut quoted = self.quoted();
                    // A repetition repeats only the last character.
                    if let Some(last) = quoted.pop() {
                        branch.append(&mut quoted);
                        branch.push(self.repeated(last, 1)?.0);
                    }
                }
                Some(_) => {
                    let (item, count) = self.item()?;
                    repeats = repeats.max(count);
                    branch.push(item);
                }
            }
        }
        branches.push(Hir::concat(branch));
        Ok((Hir::alternation(branches), repeats))
    }

    /// One atom with its repetition.
    fn item(&mut self) -> Result<(Hir, u32), RegexError> {
        let start = self.pos;
        if matches!(self.peek(), Some('*' | '+' | '?')) || self.rest().starts_with('{') && self.counts().is_some() {
            self.skip_operator();
            return Err(fault("missing argument to repetition operator", self.between(start)));
        }
        let (atom, repeats) = self.atom()?;
        self.repeated(atom, repeats)
    }

    /// An atom with the repetition that follows it, if one does.
    fn repeated(&mut self, atom: Hir, mut repeats: u32) -> Result<(Hir, u32), RegexError> {
        let operator = self.pos;
        let Some((min, max)) = self.operator()? else {
            return Ok((atom, repeats));
        };
        let lazy = self.accept('?');
        let after = self.pos;
        if self.operator()?.is_some() {
            self.accept('?');
            let both = self.text.get(operator..self.pos).unwrap_or_default();
            return Err(fault("invalid nested repetition operator", both));
        }
        self.pos = after;
        repeats = repeats.saturating_mul(max.unwrap_or(min).max(1));
        if repeats > REPEAT_MAX {
            return Err(fault("invalid repeat count", self.text.get(operator..after).unwrap_or_default()));
        }
        let greedy = lazy == self.flags.swap_greed;
        Ok((Hir::repetition(Repetition { min, max, greedy, sub: Box::new(atom) }), repeats))
    }

    fn skip_operator(&mut self) {
        if self.next() == Some('{') {
            self.pos += self.rest().find('}').map_or(0, |end| end + 1);
        }
    }

    /// A repetition operator, if next: least and greatest count.
    fn operator(&mut self) -> Result<Option<(u32, Option<u32>)>, RegexError> {
        let start = self.pos;
        let counts = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let Some((min, max)) = self.counts() else { return Ok(None) };
                self.skip_operator();
                let too_large = |count: Option<u32>| count.is_none_or(|count| count > REPEAT_MAX);
                if too_large(min) || max.is_some_and(|max| too_large(max) || max < min) {
                    return Err(fault("invalid repeat count", self.between(start)));
                }
                return Ok(Some((min.unwrap_or(0), max.flatten())));
            }
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(counts))
    }

    /// The counts of `{n}`, `{n,}` or `{n,m}`, if that is next; a brace that begins anything else stands for itself. An
    /// inner `None` is a count too large to read.
    #[expect(clippy::option_option, reason = "no upper bound, and one that is too large, are different things")]
    fn counts(&self) -> Option<(Option<u32>, Option<Option<u32>>)> {
        let (body, _) = self.rest().strip_prefix('{')?.split_once('}')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            (digits && (text.len() == 1 || !text.starts_with('0'))).then(|| text.parse().ok())
        };
        match body.split_once(',') {
            None => number(body).map(|count| (count, Some(count))),
            Some((min, "")) => number(min).map(|min| (min, None)),
            Some((min, max)) => Some((number(min)?, Some(number(max)?))),
        }
    }

    fn atom(&mut self) -> Result<(Hir, u32), RegexError> {
        let start = self.pos;
        let hir = match self.next() {
            Some('(') => return self.group(start),
            Some('[') => Hir::class(Class::Unicode(self.bracket_class(start)?)),
            Some('.') if self.flags.dot_all => Hir::class(Class::Unicode(class_of(&[('\0', char::MAX)]))),
            Some('.') => Hir::class(Class::Unicode(class_of(&[('\0', '\t'), ('\u{b}', char::MAX)]))),
            Some('^') if self.flags.multi_line => Hir::look(Look::StartLF),
            Some('^') => Hir::look(Look::Start),
            Some('$') if self.flags.multi_line => Hir::look(Look::EndLF),
            Some('$') => Hir::look(Look::End),
            Some('\\') => self.escape(start)?,
            Some(c) => self.literal(c),
            None => Hir::empty(),
        };
        Ok((hir, 1))
    }

    fn literal(&self, c: char) -> Hir {
        if self.flags.fold {
            let mut class = ClassUnicode::empty();
            class.push(regex_syntax::hir::ClassUnicodeRange::new(c, c));
            class.case_fold_simple();
            return Hir::class(Class::Unicode(class));
        }
        Hir::literal(c.to_string().into_bytes())
    }

    fn escape(&mut self, start: usize) -> Result<Hir, RegexError> {
        let look = match self.peek() {
            Some('A') => Some(Look::Start),
            Some('z') => Some(Look::End),
            Some('b') => Some(Look::WordAscii),
            Some('B') => Some(Look::WordAsciiNegate),
            _ => None,
        };
        if let Some(look) = look {
            self.next();
            return Ok(Hir::look(look));
        }
        self.pos = start;
        if let Some(class) = self.named_class()? {
            return Ok(Hir::class(Class::Unicode(class)));
        }
        self.next();
        let c = self.escaped_char(start)?;
        Ok(self.literal(c))
    }

    /// The characters of `\Q...\E`, which is next; without an end it goes on to the end of the expression.
    fn quoted(&mut self) -> Vec<Hir> {
        self.pos += 2;
        let body = self.rest();
        let (quoted, skip) = body.split_once("\\E").map_or((body, 0), |(quoted, _)| (quoted, 2));
        self.pos += quoted.len() + skip;
        quoted.chars().map(|c| self.literal(c)).collect()
    }

    /// The character behind a backslash that has been read; `start` is where the backslash stands.
    pub(super) fn escaped_char(&mut self, start: usize) -> Result<char, RegexError> {
        let invalid = |parser: &Self| fault("invalid escape sequence", parser.between(start));
        let Some(c) = self.next() else {
            return Err(RegexError("trailing backslash at end of expression: ``".to_owned()));
        };
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => return self.hexadecimal(start),
            // A single digit but zero would be a back reference.
            '1'..='7' if !self.peek().is_some_and(|next| next.is_digit(8)) => return Err(invalid(self)),
            '0'..='7' => {
                let mut value = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
                    self.next();
                    value = value * 8 + digit;
                }
                char::from_u32(value).ok_or_else(|| invalid(self))?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(invalid(self)),
        })
    }

    /// `\x7f` or `\x{10ffff}`, behind the `x`.
    fn hexadecimal(&mut self, start: usize) -> Result<char, RegexError> {
        let digits = if self.accept('{') {
            let (digits, _) = self.rest().split_once('}').unwrap_or((self.rest(), ""));
            self.pos = (self.pos + digits.len() + 1).min(self.text.len());
            digits
        } else {
            let digits = self.rest().get(..2).unwrap_or_default();
            self.pos += digits.len();
            digits
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain
            .then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32))
            .flatten()
            .ok_or_else(|| fault("invalid escape sequence", self.between(start)))
    }

    /// A group, the parenthesis of which has been read.
    fn group(&mut self, start: usize) -> Result<(Hir, u32), RegexError> {
        let outer = self.flags;
        let mut name = None;
        let captures = if self.accept('?') {
            if self.rest().starts_with("P<") || self.rest().starts_with('<') {
                name = Some(self.group_name(start)?);
                true
            } else {
                if self.group_flags(start)? {
                    // `(?i)`: holds until the group around it ends.
                    return Ok((Hir::empty(), 1));
                }
                false
            }
        } else {
            true
        };
        if captures {
            self.groups += 1;
        }
        let index = self.groups;
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(fault("expression nests too deeply", self.text));
        }
        let (inner, repeats) = self.alternation()?;
        self.nesting -= 1;
        if !self.accept(')') {
            return Err(fault("missing closing )", self.text));
        }
        self.flags = outer;
        if !captures {
            return Ok((inner, repeats));
        }
        let name = name.map(Box::from);
        Ok((Hir::capture(Capture { index, name, sub: Box::new(inner) }), repeats))
    }

    /// `P<name>` or `<name>`, behind the question mark.
    fn group_name(&mut self, start: usize) -> Result<&'a str, RegexError> {
        self.accept('P');
        self.accept('<');
        let Some((name, _)) = self.rest().split_once('>') else {
            return Err(fault("invalid named capture", self.from(start)));
        };
        self.pos += name.len() + 1;
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
            return Err(fault("invalid named capture", self.between(start)));
        }
        if self.names.contains(&name) {
            return Err(fault("duplicate capture group name", name));
        }
        self.names.push(name);
        Ok(name)
    }

    /// Flags behind `(?`; whether they end with `)` and not with `:`.
    fn group_flags(&mut self, start: usize) -> Result<bool, RegexError> {
        let mut flags = self.flags;
        let (mut value, mut empty) = (true, true);
        loop {
            let c = self.next();
            match c {
                Some('i') => flags.fold = value,
                Some('m') => flags.multi_line = value,
                Some('s') => flags.dot_all = value,
                Some('U') => flags.swap_greed = value,
                Some('-') if value => {
                    value = false;
                    empty = true;
                    continue;
                }
                Some(':' | ')') if value || !empty => {
                    self.flags = flags;
                    return Ok(c == Some(')'));
                }
                Some(_) => return Err(fault("invalid or unsupported Perl syntax", self.between(start))),
                None => return Err(fault("missing closing )", self.text)),
            }
            empty = false;
        }
    }
}
