//! Numbers as Prometheus' JSON has them, written by hand: a matrix of a dashboard has millions.
//!
//! Values are quoted and formatted as Go's `strconv` does with the shortest digits; times are seconds with at most
//! three decimals. A point is put together in a piece of memory of fixed length, where short texts are copied by a few
//! moves, and appended as a whole.

/// Bytes of the longest point: brackets, comma and quotes, a time of 21 bytes, a value of 25.
const PIECE_BYTES: usize = 64;

/// A short text in the making.
struct Piece {
    bytes: [u8; PIECE_BYTES],
    len: usize,
}

impl Piece {
    #[inline]
    fn new() -> Self {
        Self { bytes: [0; PIECE_BYTES], len: 0 }
    }

    /// Appends all of the piece and cuts what is too much: a copy of fixed length is a few moves.
    #[inline]
    fn append_to(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }

    #[inline]
    fn push<const N: usize>(&mut self, text: &[u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(text);
        self.len += N;
    }

    /// Appends a text of any length that fits.
    #[inline]
    fn put(&mut self, text: &[u8]) {
        let to = &mut self.bytes[self.len..self.len + text.len()];
        if !(copy_ends::<16>(to, text) || copy_ends::<8>(to, text) || copy_ends::<4>(to, text)) {
            to.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        }
        self.len += text.len();
    }

    /// Appends milliseconds as seconds.
    #[inline]
    fn time(&mut self, ms: i64) {
        if ms < 0 {
            self.push(b"-");
        }
        let ms = ms.unsigned_abs();
        self.put(itoa::Buffer::new().format(ms / 1000).as_bytes());
        self.fraction((ms % 1000) as u16);
    }

    #[inline]
    fn fraction(&mut self, thousandths: u16) {
        if thousandths != 0 {
            let digit = |n: u16| b'0' + (n % 10) as u8;
            self.push(&[b'.', digit(thousandths / 100), digit(thousandths / 10), digit(thousandths)]);
        }
    }

    /// Appends a float in quotes.
    #[inline]
    fn value(&mut self, value: f64) {
        self.push(b"\"");
        self.float(value);
        self.push(b"\"");
    }

    /// Appends a float as Go writes it: plain digits from 1e-6 to below 1e21, else an exponent of two digits or more.
    #[inline]
    fn float(&mut self, value: f64) {
        let magnitude = value.abs();
        // Counters and sizes are whole numbers: no search for the shortest digits is needed below 2^53.
        if magnitude < 9e15 && value as i64 as f64 == value {
            if value == 0.0 && value.is_sign_negative() {
                self.push(b"-");
            }
            self.put(itoa::Buffer::new().format(value as i64).as_bytes());
        } else if (1e-4..9e15).contains(&magnitude) {
            // No exponent, and no zero behind the point.
            self.put(zmij::Buffer::new().format_finite(value).as_bytes());
        } else if value.is_nan() {
            self.push(b"NaN");
        } else if value.is_infinite() {
            self.push(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        } else {
            self.put(&shortest(value));
        }
    }
}

/// Copies a text of `N` to `2 * N` bytes as its first and its last `N`, which may overlap; false where it has another
/// length. Both are equally long.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], text: &[u8]) -> bool {
    if text.len() > 2 * N {
        return false;
    }
    let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) else { return false };
    if let Some(to) = to.first_chunk_mut::<N>() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut::<N>() {
        *to = *last;
    }
    true
}

/// Writes the times of one series after the other: of neighbours only the last four digits of the seconds differ.
#[derive(Default)]
pub struct Times {
    /// Seconds without their last four digits, and their text.
    high: u64,
    text: [u8; 16],
    len: usize,
}

/// The last four digits of seconds.
const LOW: u64 = 10_000;

impl Times {
    #[inline]
    fn put(&mut self, piece: &mut Piece, ms: i64) {
        let Ok(positive) = u64::try_from(ms) else { return piece.time(ms) };
        let (seconds, thousandths) = (positive / 1000, (positive % 1000) as u16);
        let (high, low) = (seconds / LOW, (seconds % LOW) as u16);
        if high == 0 {
            return piece.time(ms);
        }
        if high != self.high {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(high).as_bytes();
            self.text[..digits.len()].copy_from_slice(digits);
            (self.high, self.len) = (high, digits.len());
        }
        // All sixteen are copied, which is one move; those too many are written over.
        piece.bytes[piece.len..piece.len + 16].copy_from_slice(&self.text);
        piece.len += self.len;
        let digit = |n: u16| b'0' + (n % 10) as u8;
        piece.push(&[digit(low / 1000), digit(low / 100), digit(low / 10), digit(low)]);
        piece.fraction(thousandths);
    }

    /// Appends `[time,"value"]` after a separator.
    #[inline]
    pub fn push_point(&mut self, out: &mut Vec<u8>, separator: u8, (time, value): (i64, f64)) {
        let mut piece = Piece::new();
        piece.push(&[separator, b'[']);
        self.put(&mut piece, time);
        piece.push(b",");
        piece.value(value);
        piece.push(b"]");
        piece.append_to(out);
    }
}

/// Appends milliseconds as seconds.
pub fn push_time(out: &mut Vec<u8>, ms: i64) {
    let mut piece = Piece::new();
    piece.time(ms);
    piece.append_to(out);
}

/// Appends a value in quotes.
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    let mut piece = Piece::new();
    piece.value(value);
    piece.append_to(out);
}

/// Appends `[time,"value"]`.
pub fn push_point(out: &mut Vec<u8>, time: i64, value: f64) {
    let mut piece = Piece::new();
    piece.push(b"[");
    piece.time(time);
    piece.push(b",");
    piece.value(value);
    piece.push(b"]");
    piece.append_to(out);
}

/// A finite float of any size.
#[cold]
fn shortest(value: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    push_shortest(&mut out, zmij::Buffer::new().format_finite(value), value.abs());
    out
}

/// Turns digits as Rust's libraries write them (`1.5`, `100.0`, `1.5e-7`, `1e21`) into Go's.
fn push_shortest(out: &mut Vec<u8>, text: &str, magnitude: f64) {
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (text, 0),
    };
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    if exponent == 0 && (1e-6..1e21).contains(&magnitude) {
        out.extend_from_slice(mantissa.as_bytes());
        return;
    }
    let digits_negative = mantissa.strip_prefix('-');
    if digits_negative.is_some() {
        out.push(b'-');
    }
    let (whole, fraction) =
        digits_negative.unwrap_or(mantissa).split_once('.').unwrap_or((digits_negative.unwrap_or(mantissa), ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    // Where the point stands, counted from the first digit that is not zero.
    let mut point = i32::try_from(whole.len()).unwrap_or(0) + exponent;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    point -= i32::try_from(zeros).unwrap_or(0);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if (1e-6..1e21).contains(&magnitude) {
        push_plain(out, &digits, point);
    } else {
        push_scientific(out, &digits, point - 1);
    }
}

fn push_plain(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    let before = usize::try_from(point).unwrap_or(0);
    if before == 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', usize::try_from(-point).unwrap_or(0)));
        out.extend_from_slice(digits);
    } else if digits.len() <= before {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', before - digits.len()));
    } else {
        out.extend_from_slice(&digits[..before]);
        out.push(b'.');
        out.extend_from_slice(&digits[before..]);
    }
}

fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let (first, rest) = digits.split_at(1.min(digits.len()));
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        // Pairs of value and Go's `strconv.FormatFloat(v, 'f' or 'e', -1, 64)` with the cut-offs of Prometheus.
        for (value, expect) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.25, "-17.25"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (9.5e-7, "9.5e-07"),
            (-1e-10, "-1e-10"),
            (5e-324, "5e-324"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e100, "1.25e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(|out| push_value(out, value)), format!("\"{expect}\""));
        }
    }

    #[test]
    fn every_float_reads_back_as_itself() {
        let rng = crate::base::rng::Rng::from_seed(1);
        for _ in 0..20_000 {
            let value = f64::from_bits(rng.next_u64());
            let text = written(|out| push_value(out, value));
            if !value.is_nan() {
                assert_eq!(text.trim_matches('"').parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            }
        }
    }

    #[test]
    fn floats_of_usual_sizes_are_written_as_those_of_any_size() {
        let rng = crate::base::rng::Rng::from_seed(2);
        let near = [1e-4, 0.00010000000000000002, 0.5, 8_999_999_999_999_999.0, 4_503_599_627_370_495.5];
        let any = (0..20_000).map(|_| {
            let digits = rng.next_u64() as f64 / 2.0_f64.powi(64);
            digits * 10.0_f64.powi(rng.below(20) as i32 - 3)
        });
        for value in near.into_iter().chain(any) {
            let expect = String::from_utf8(shortest(value)).unwrap();
            assert_eq!(written(|out| push_value(out, value)), format!("\"{expect}\""));
            assert_eq!(written(|out| push_value(out, -value)), format!("\"-{expect}\""));
        }
    }

    #[test]
    fn points_of_a_series_are_written_as_each_alone() {
        let mut times = Times::default();
        let hours =
            [0, 9_999_999, 10_000_000, 10_000_001, -5_000, 1_700_000_000_250, 1_700_009_999_000, 1_700_010_000_000];
        for (at, time) in hours.into_iter().chain([i64::MAX, i64::MIN, 1_700_010_000_070]).enumerate() {
            let alone = written(|out| push_point(out, time, at as f64 / 3.0));
            let mut out = Vec::new();
            times.push_point(&mut out, b',', (time, at as f64 / 3.0));
            assert_eq!(String::from_utf8(out).unwrap(), format!(",{alone}"));
        }
        let mut out = Vec::new();
        Times::default().push_point(&mut out, b'[', (i64::MIN, -f64::MIN_POSITIVE));
        assert_eq!(out, b"[[-9223372036854775.808,\"-2.2250738585072014e-308\"]");
    }

    #[test]
    fn times_have_at_most_three_decimals() {
        for (ms, expect) in [(0, "0"), (1_000, "1"), (1_050, "1.050"), (-1_500, "-1.500"), (7, "0.007")] {
            assert_eq!(written(|out| push_time(out, ms)), expect);
        }
    }
}
