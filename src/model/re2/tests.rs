use crate::model::re2::{Pattern, Search, Shape};

#[track_caller]
fn check(pattern: &str, matches: &[&str], refuses: &[&str]) {
    let compiled = Pattern::new(pattern).unwrap();
    for text in matches {
        assert!(compiled.is_match(text), "{pattern} does not match {text:?}");
        assert!(compiled.run(text), "{pattern} run does not match {text:?}");
    }
    for text in refuses {
        assert!(!compiled.is_match(text), "{pattern} matches {text:?}");
        assert!(!compiled.run(text), "{pattern} run matches {text:?}");
    }
}

#[track_caller]
fn refused(pattern: &str) -> String {
    Pattern::new(pattern).expect_err(pattern).to_string()
}

#[test]
fn what_rust_reads_in_another_way() {
    check(r"[[]", &["["], &["[]"]);
    check(r"[a[b]", &["a", "[", "b"], &["ab"]);
    check(r"[a&&b]", &["a", "&", "b"], &[""]);
    check(r"[!--b]", &["-", "b", "#"], &["."]);
    check(r"[a~~b]", &["~"], &[]);
    check(r"\Qa.b|c\E+", &["a.b|c", "a.b|cc"], &["axb|c"]);
    check(r"\Q[", &["["], &[]);
    check(r"\07\101", &["\u{7}A"], &[]);
    check(r"{", &["{"], &[""]);
    check(r"a{,5}", &["a{,5}"], &["aaa"]);
    check(r"a{1,2", &["a{1,2"], &["a"]);
    check(r"\d+", &["12"], &["١"]);
    check(r"\w", &["a", "_"], &["é"]);
    check(r"\W", &["é"], &["a"]);
    check(r"[\d-z]", &["-", "z", "4"], &["e"]);
    check(r"[]a]", &["]", "a"], &[]);
    check(r"[^]a]", &["b", "\n"], &["]"]);
    check(r"[a-]", &["a", "-"], &["b"]);
    check(r"[[:alpha:][:^word:]]", &["a", "é"], &["_", "1"]);
    check(r"\pN\p{Greek}\P{Lu}[\p{^Lu}]", &["1αaa", "²α1_"], &["1αAa"]);
    check(r"\x41\x{1F600}", &["A😀"], &[]);
    check(r"a\b.c", &["a c"], &["abc"]);
    check(r"(?-s).", &["a"], &["\n"]);
    check(r"(?-s:.).", &["a\n"], &["\na"]);
}

#[test]
fn anchored_groups_flags_and_counts() {
    check("a|b", &["a", "b"], &["ab", ""]);
    check(".*", &["", "a\nb"], &[]);
    check("(?i)prod|Dev", &["PROD", "dev"], &["prodd"]);
    check("a(?i)b|c", &["aB", "C"], &["Ab"]);
    check("(?i:a)b", &["Ab"], &["aB"]);
    check("(?i)k", &["k", "K", "\u{212a}"], &[]);
    check("^a$", &["a"], &["a\n"]);
    check("a(^b)", &[], &["ab"]);
    check("(?m)a$\\n^b", &["a\nb"], &["ab"]);
    check("(a|bc){2,3}?", &["abc", "aaa"], &["a"]);
    check("(?P<x>a)(?<y>b)", &["ab"], &[]);
    check("", &[""], &["a"]);
    check("()|a", &["", "a"], &[]);
    check("(?U)a+", &["aaa"], &[]);
    check("😀+", &["😀😀"], &[""]);
}

#[test]
fn errors_as_go_words_them() {
    for (pattern, message) in [
        ("a**", "invalid nested repetition operator: `**`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("{2}", "missing argument to repetition operator: `{2}`"),
        ("a(b", "missing closing ): `a(b`"),
        ("a)b", "unexpected ): `a)b`"),
        ("x[abc", "missing closing ]: `[abc`"),
        ("[a--b]", "invalid character class range: `a--`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("\\8", "invalid escape sequence: `\\8`"),
        ("a\\1", "invalid escape sequence: `\\1`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("(a{50}){50}", "invalid repeat count: `{50}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<n>a)(?P<n>b)", "duplicate capture group name: `n`"),
        ("\\p{Nope}", "invalid character class range: `\\p{Nope}`"),
    ] {
        assert_eq!(refused(pattern), format!("error parsing regexp: {message}"), "{pattern}");
    }
}

#[test]
fn size_is_limited() {
    assert!(refused(&"(".repeat(20_000)).contains("nests too deeply"));
    assert!(refused(&r"\pL{900}".repeat(100)).contains("too large"));
    assert!(refused(&"a".repeat(70_000)).contains("longer than"));
    // Many expansions that each cost much and give little.
    assert_eq!(Pattern::new(&"(a?){900}|".repeat(5)).unwrap().shape(), &Shape::Other);
}

#[track_caller]
fn check_shape(pattern: &str, expect: &expect_test::Expect) {
    expect.assert_eq(&format!("{:?}", Pattern::new(pattern).unwrap().shape()));
}

#[test]
fn shapes() {
    use expect_test::expect;
    check_shape("foo", &expect![[r#"Set(["foo"])"#]]);
    check_shape("^(b|ab?)$", &expect![[r#"Set(["a", "ab", "b"])"#]]);
    check_shape("^a$|^b$|", &expect![[r#"Set(["", "a", "b"])"#]]);
    check_shape("10\\.0\\.0\\.[1-3]:80", &expect![[r#"Set(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"])"#]]);
    check_shape("(?i)ab", &expect![[r#"Set(["AB", "Ab", "aB", "ab"])"#]]);
    check_shape(".*", &expect!["Everything"]);
    check_shape("(.+)", &expect!["NotEmpty"]);
    check_shape("foo.*", &expect![[r#"Prefix { prefix: "foo", rest_is_free: true }"#]]);
    check_shape("foo(bar.*|baz.+)", &expect![[r#"Prefix { prefix: "foo", rest_is_free: false }"#]]);
    check_shape(".*foo", &expect![[r#"Suffix("foo")"#]]);
    check_shape(".*foo.*", &expect![[r#"Contains("foo")"#]]);
    check_shape("a(^b)", &expect![[r#"Prefix { prefix: "a", rest_is_free: false }"#]]);
    check_shape("(?-s).*", &expect!["Other"]);
    check_shape("[a-z]+", &expect!["Other"]);
}

#[test]
fn templates() {
    let pattern = Pattern::new("(?P<host>[^:]+):(\\d+)").unwrap();
    for (template, want) in [
        ("$1-${2}", "web-80"),
        ("${host}x$$1", "webx$1"),
        ("$1x$2", "80"),
        ("$9|$", "|$"),
        ("${1", "${1"),
        ("a$ b", "a$ b"),
    ] {
        assert_eq!(pattern.expand("web:80", template).as_deref(), Some(want), "{template}");
    }
    assert_eq!(pattern.expand("web", "x"), None);
}

/// Pattern, template, text, and what Go 1.26's `ReplaceAllString` gives.
const REPLACED: &[(&str, &str, &str, &str)] = &[
    ("", "x", "abc", "xaxbxcx"),
    ("", "x", "", "x"),
    ("b", "", "abc", "ac"),
    ("[a-c]*", "x", "日", "x日x"),
    ("[^日]", "x", "abc日def", "xxx日xxx"),
    ("^[a-c]*", "x", "abcdabc", "xdabc"),
    ("[a-c]*$", "x", "abcdabc", "abcdx"),
    ("^[a-c]*$", "x", "abcdabc", "abcdabc"),
    ("[a-c]*", "x", "abcbcdcdedef", "xdxdxexdxexfx"),
    ("a+", "($0)", "banana", "b(a)n(a)n(a)"),
    ("a+", "(${0})", "banana", "b(a)n(a)n(a)"),
    ("hello, (.+)", "goodbye, ${1}", "hello, world", "goodbye, world"),
    ("hello, (?P<noun>.+)", "goodbye, $noun!", "hello, world", "goodbye, world!"),
    ("(.+)-(\\d+)", "$2_$1", "node-17", "node"),
    ("(.+)-(\\d+)", "${2}_${1}", "node-17", "17_node"),
    ("a+", "${oops", "aaa", "${oops"),
    ("a+", "$$", "aaa", "$"),
    ("a+", "$", "aaa", "$"),
    ("(a)(b)?", "[$2]", "ab a", "[b] []"),
    ("x*", "-", "axb", "-a-b-"),
    (".", "x", "a\nb", "x\nx"),
    ("(?s).", "x", "a\nb", "xxx"),
    ("(?m)^", "> ", "a\nb", "> a\n> b"),
    ("\\d", "#", "1٢3", "#٢#"),
    ("(\\w+):\\d+", "$1", "host:9100, other:80", "host, other"),
    ("a{,2}", "x", "a{,2}", "x"),
    ("[[:alpha:]]+", "w", "ab12cd", "w12w"),
    ("a|ab", "x", "ab", "xb"),
    ("$1", "x", "$1", "$1"),
    ("(a)", "$1x", "a", ""),
    ("(a)", "$1-x", "a", "a-x"),
    ("(?i)ERR", "e", "err Err", "e e"),
    ("\\Qa.b\\E", "x", "a.b axb", "x axb"),
];

#[test]
fn replaces_as_go_does() {
    for (pattern, template, text, expect) in REPLACED {
        let search = Search::new(pattern).unwrap();
        assert_eq!(search.replace_all(text, template), *expect, "{pattern:?} {template:?} {text:?}");
    }
    assert!(Search::new("b+").unwrap().is_match("abc"), "a search looks inside");
    assert!(!Search::new("a.c").unwrap().is_match("a\nc"), "and line by line");
    let error = Search::new("a(b").unwrap_err().to_string();
    assert_eq!(error, "error parsing regexp: missing closing ): `a(b`");
}
