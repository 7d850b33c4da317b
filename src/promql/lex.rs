//! Text to tokens.
//!
//! Owns what is a word, a number, a string. The lexer is contextual, because the language is: inside `{}` every word is a
//! label name, inside `[]` a colon separates range and step, and `fill` is a keyword only before a parenthesis. It never
//! fails: what cannot be read is an [`TokenKind::Error`] token, and [`Lexer::error`] then has the message.

use crate::promql::ast::BinaryOp;
use crate::promql::quote::{quote_char, quote_str};
use crate::promql::token::{Keyword, Preprocessor, Token, TokenKind, keyword};

/// What the next byte means depends on where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Statement,
    Braces,
    /// Inside brackets, before the first number.
    Brackets,
}

#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    start: usize,
    mode: Mode,
    paren_depth: i32,
    bracket_open: bool,
    got_colon: bool,
    got_duration: bool,
    error: String,
}

impl<'a> Lexer<'a> {
    /// `text` is shorter than 4 GiB.
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            pos: 0,
            start: 0,
            mode: Mode::Statement,
            paren_depth: 0,
            bracket_open: false,
            got_colon: false,
            got_duration: false,
            error: String::new(),
        }
    }

    /// The message of the last error token.
    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    /// The next token; white space and comments are skipped. After the end it is `Eof` for ever.
    pub(crate) fn next(&mut self) -> Token {
        loop {
            self.start = self.pos;
            match self.peek_byte() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.pos += 1,
                Some(b'#') if self.mode != Mode::Brackets => self.skip_comment(),
                _ => break,
            }
        }
        match self.mode {
            Mode::Statement => self.statement(),
            Mode::Braces => self.inside_braces(),
            Mode::Brackets => self.inside_brackets(),
        }
    }

    fn skip_comment(&mut self) {
        let rest = self.text.as_bytes().get(self.pos..).unwrap_or_default();
        self.pos += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
    }

    fn statement(&mut self) -> Token {
        let Some(c) = self.bump() else {
            if self.paren_depth != 0 {
                return self.fail("unclosed left parenthesis");
            }
            if self.bracket_open {
                return self.fail("unclosed left bracket");
            }
            return self.emit(TokenKind::Eof);
        };
        match c {
            ',' => self.emit(TokenKind::Comma),
            '*' => self.operator(BinaryOp::Mul),
            '/' => self.operator(BinaryOp::Div),
            '%' => self.operator(BinaryOp::Mod),
            '+' => self.operator(BinaryOp::Add),
            '-' => self.operator(BinaryOp::Sub),
            '^' => self.operator(BinaryOp::Pow),
            '=' | '!' | '<' | '>' => self.comparison(c),
            '0'..='9' => self.number(),
            '.' if self.peek_byte().is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            'a'..='z' | 'A'..='Z' | '_' | ':' if !self.bracket_open => self.word(),
            'a'..='z' | 'A'..='Z' | '_' | ':' => self.word_in_brackets(c),
            '(' => {
                self.paren_depth += 1;
                self.emit(TokenKind::LeftParen)
            }
            ')' => self.right_paren(),
            '{' => {
                self.mode = Mode::Braces;
                self.emit(TokenKind::LeftBrace)
            }
            '[' if self.bracket_open => self.fail("unexpected left bracket '['"),
            '[' => {
                self.got_colon = false;
                self.bracket_open = true;
                self.mode = Mode::Brackets;
                self.emit(TokenKind::LeftBracket)
            }
            ']' if !self.bracket_open => self.fail("unexpected right bracket ']'"),
            ']' => {
                self.bracket_open = false;
                self.emit(TokenKind::RightBracket)
            }
            '@' => self.emit(TokenKind::At),
            _ => self.fail(&format!("unexpected character: {}", quote_char(c))),
        }
    }

    fn comparison(&mut self, c: char) -> Token {
        let next = self.peek_char();
        let op = match (c, next) {
            ('=', Some('=')) => BinaryOp::Equal,
            ('=', Some('~')) => return self.fail("unexpected character after '=': '~'"),
            ('=', _) => return self.emit(TokenKind::Equal),
            ('!', Some('=')) => BinaryOp::NotEqual,
            ('!', _) => {
                return self.fail(&format!("unexpected character after '!': {}", quote_next(next)));
            }
            ('<', Some('=')) => BinaryOp::LessEqual,
            ('<', Some('/')) => BinaryOp::TrimUpper,
            ('<', _) => return self.operator(BinaryOp::Less),
            (_, Some('=')) => BinaryOp::GreaterEqual,
            (_, Some('/')) => BinaryOp::TrimLower,
            _ => return self.operator(BinaryOp::Greater),
        };
        self.pos += 1;
        self.operator(op)
    }

    fn right_paren(&mut self) -> Token {
        self.paren_depth -= 1;
        if self.paren_depth < 0 {
            // Prometheus points behind the parenthesis here.
            self.start = self.pos;
            return self.fail("unexpected right parenthesis ')'");
        }
        self.emit(TokenKind::RightParen)
    }

    fn word_in_brackets(&mut self, c: char) -> Token {
        if c == ':' {
            if self.got_colon {
                return self.fail("unexpected colon ':'");
            }
            self.got_colon = true;
            return self.emit(TokenKind::Colon);
        }
        self.duration_keyword()
            .unwrap_or_else(|| self.fail(&format!("unexpected character: {}, expected ':'", quote_char(c))))
    }

    /// `step`, `range`, `max_of` or `min_of`; the first character has been read.
    fn duration_keyword(&mut self) -> Option<Token> {
        while self.peek_byte().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic()) {
            self.pos += 1;
        }
        let word = self.text.get(self.start..self.pos).unwrap_or_default();
        let known = [
            ("step", Preprocessor::Step),
            ("range", Preprocessor::Range),
            ("max_of", Preprocessor::MaxOf),
            ("min_of", Preprocessor::MinOf),
        ];
        let (_, preprocessor) = known.iter().find(|(name, _)| word.eq_ignore_ascii_case(name))?;
        Some(self.emit(TokenKind::Preprocessor(*preprocessor)))
    }

    fn inside_brackets(&mut self) -> Token {
        let Some(c) = self.bump() else {
            return self.fail("unexpected end of input in duration expression");
        };
        match c {
            ']' => {
                self.bracket_open = false;
                self.got_colon = false;
                self.mode = Mode::Statement;
                self.emit(TokenKind::RightBracket)
            }
            ':' if !self.got_duration => {
                self.start = self.pos;
                self.fail("unexpected colon before duration in duration expression")
            }
            ':' if self.got_colon => {
                self.start = self.pos;
                self.fail("unexpected repeated colon in duration expression")
            }
            ':' => {
                self.got_colon = true;
                self.emit(TokenKind::Colon)
            }
            '(' => {
                self.paren_depth += 1;
                self.emit(TokenKind::LeftParen)
            }
            ')' => self.right_paren(),
            '+' => self.operator(BinaryOp::Add),
            '-' => self.operator(BinaryOp::Sub),
            '*' => self.operator(BinaryOp::Mul),
            '/' => self.operator(BinaryOp::Div),
            '%' => self.operator(BinaryOp::Mod),
            '^' => self.operator(BinaryOp::Pow),
            ',' => self.emit(TokenKind::Comma),
            '0'..='9' => self.number_in_brackets(),
            '.' if self.peek_byte().is_some_and(|byte| byte.is_ascii_digit()) => self.number_in_brackets(),
            's' | 'S' | 'r' | 'R' | 'm' | 'M' => self.duration_keyword().unwrap_or_else(|| self.fail_in_brackets(c)),
            _ => self.fail_in_brackets(c),
        }
    }

    fn number_in_brackets(&mut self) -> Token {
        self.got_duration = true;
        self.mode = Mode::Statement;
        self.number()
    }

    fn fail_in_brackets(&mut self, c: char) -> Token {
        self.fail(&format!("unexpected character in duration expression: {}", quote_char(c)))
    }

    fn inside_braces(&mut self) -> Token {
        let Some(c) = self.bump() else {
            return self.fail("unexpected end of input inside braces");
        };
        match c {
            'a'..='z' | 'A'..='Z' | '_' => {
                self.skip_while(is_word);
                self.emit(TokenKind::Identifier)
            }
            ',' => self.emit(TokenKind::Comma),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' if self.accept(b"~") => self.emit(TokenKind::EqualRegex),
            '=' => self.emit(TokenKind::Equal),
            '!' if self.accept(b"~") => self.emit(TokenKind::NotEqualRegex),
            '!' if self.accept(b"=") => self.operator(BinaryOp::NotEqual),
            '!' => {
                let next = quote_next(self.peek_char());
                self.fail(&format!("unexpected character after '!' inside braces: {next}"))
            }
            '{' => self.fail("unexpected left brace '{'"),
            '}' => {
                self.mode = Mode::Statement;
                self.emit(TokenKind::RightBrace)
            }
            _ => self.fail(&format!("unexpected character inside braces: {}", quote_char(c))),
        }
    }

    fn string(&mut self, quote: char) -> Token {
        loop {
            match self.bump() {
                Some('\\') => {
                    if let Err(message) = self.escape(quote) {
                        return self.fail(&message);
                    }
                }
                None | Some('\n') => return self.fail("unterminated quoted string"),
                Some(c) if c == quote => return self.emit(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<(), String> {
        const UNTERMINATED: &str = "escape sequence not terminated";
        let c = self.bump().ok_or(UNTERMINATED)?;
        let (mut digits, base, max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            _ if c == quote => return Ok(()),
            '0'..='7' => (3, 8, 255),
            'x' => (2, 16, 255),
            'u' => (4, 16, u32::from(char::MAX)),
            'U' => (8, 16, u32::from(char::MAX)),
            _ => return Err(format!("unknown escape sequence {}", describe_rune(c))),
        };
        let mut value = 0_u32;
        if base == 8 {
            value = c.to_digit(8).unwrap_or(0);
            digits -= 1;
        }
        for _ in 0..digits {
            let c = self.bump().ok_or(UNTERMINATED)?;
            let digit =
                c.to_digit(base).ok_or_else(|| format!("illegal character {} in escape sequence", describe_rune(c)))?;
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > max || (0xD800..0xE000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    fn raw_string(&mut self) -> Token {
        loop {
            match self.bump() {
                None => return self.fail("unterminated raw string"),
                Some('`') => return self.emit(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn word(&mut self) -> Token {
        self.skip_while(|byte| is_word(byte) || byte == b':');
        let word = self.text.get(self.start..self.pos).unwrap_or_default();
        let kind = match keyword(word) {
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.before_left_paren() =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        };
        self.emit(kind)
    }

    fn before_left_paren(&self) -> bool {
        let rest = self.text.get(self.pos..).unwrap_or_default();
        rest.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(')
    }

    fn number(&mut self) -> Token {
        self.pos = self.start;
        if self.scan_number() {
            return self.emit(TokenKind::Number);
        }
        if self.scan_duration() {
            return self.emit(TokenKind::Duration);
        }
        let text = quote_str(self.text.get(self.start..self.pos).unwrap_or_default());
        self.fail(&format!("bad number or duration syntax: {text}"))
    }

    /// Reads what looks like a number, leaving checks of the value to the parser. On failure the position is where a
    /// duration might go on.
    fn scan_number(&mut self) -> bool {
        let begin = self.pos;
        let hex = self.accept(b"0") && self.accept(b"xX");
        let digits: &[u8] = if hex { b"0123456789abcdefABCDEF" } else { b"0123456789" };
        if hex {
            self.accept(b"_");
        }
        self.accept(b".");
        self.accept(digits);
        let (mut got_dot, mut got_exponent) = (false, false);
        while let Some(byte) = self.peek_byte() {
            if byte == b'.' {
                self.pos += 1;
                // A second dot, a dot before an underscore, or a fraction in a hexadecimal number.
                if got_dot || self.accept(b"_.") || hex {
                    return false;
                }
                got_dot = true;
            } else if matches!(byte, b'e' | b'E') && (got_exponent || !hex) {
                self.pos += 1;
                if got_exponent {
                    return false;
                }
                got_exponent = true;
                self.accept(b"+-");
                if self.accept(b"._eE") || self.peek_byte().is_none() {
                    return false;
                }
            } else if byte == b'_' {
                self.pos += 1;
                if self.accept(b"._eE") || self.peek_byte().is_none() {
                    return false;
                }
            } else if digits.contains(&byte) {
                self.skip_while(|byte| digits.contains(&byte));
            } else {
                break;
            }
        }
        self.pos != begin && !self.peek_byte().is_some_and(is_word)
    }

    fn scan_duration(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        self.accept(b"s");
        while self.peek_byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip_while(|byte| byte.is_ascii_digit());
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        if self.peek_byte().is_some_and(is_word) {
            self.pos += 1;
            return false;
        }
        true
    }

    fn operator(&self, op: BinaryOp) -> Token {
        self.emit(TokenKind::Operator(op))
    }

    fn emit(&self, kind: TokenKind) -> Token {
        Token { kind, start: offset(self.start), end: offset(self.pos) }
    }

    fn fail(&mut self, message: &str) -> Token {
        message.clone_into(&mut self.error);
        Token { kind: TokenKind::Error, start: offset(self.start), end: offset(self.text.len()) }
    }

    fn peek_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn peek_char(&self) -> Option<char> {
        self.text.get(self.pos..)?.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let byte = self.peek_byte()?;
        if byte.is_ascii() {
            self.pos += 1;
            return Some(char::from(byte));
        }
        let c = self.peek_char()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, bytes: &[u8]) -> bool {
        let found = self.peek_byte().is_some_and(|byte| bytes.contains(&byte));
        self.pos += usize::from(found);
        found
    }

    fn skip_while(&mut self, keep: impl Fn(u8) -> bool) {
        while self.peek_byte().is_some_and(&keep) {
            self.pos += 1;
        }
    }
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// A character as Go prints it with `%q`; the end of input is the replacement character there.
fn quote_next(c: Option<char>) -> String {
    quote_char(c.unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// A character as Go prints it with `%#U`.
fn describe_rune(c: char) -> String {
    format!("U+{:04X} {}", u32::from(c), quote_char(c))
}
