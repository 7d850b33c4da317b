//! Results of tests as JUnit's XML, in the shape that promtool writes.

use std::fmt::Write as _;

use crate::rules::unit_test::Report;

/// A document with one suite for each file. A file that cannot be used is a suite with one error.
pub(super) fn document(suites: &[(String, Report)]) -> String {
    let mut text = String::from("<testsuites>");
    for (file, report) in suites {
        // Faults without tests are those of the file.
        let is_broken = report.cases.is_empty() && !report.faults.is_empty();
        let tests = if is_broken { 1 } else { report.cases.len() };
        let failures: usize = report.cases.iter().map(|(_, faults)| faults.len()).sum();
        let errors = usize::from(is_broken);
        let file = escaped(file);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\">"
        );
        if is_broken {
            let why = escaped(&report.faults.join("\n"));
            let _ = write!(text, "<testcase name=\"unknown\"><error>{why}</error></testcase>");
        }
        for (name, faults) in &report.cases {
            let _ = write!(text, "<testcase name=\"{}\">", escaped(name));
            for fault in faults {
                let _ = write!(text, "<failure>{}</failure>", escaped(fault));
            }
            text.push_str("</testcase>");
        }
        text.push_str("</testsuite>");
    }
    text + "</testsuites>\n"
}

/// XML has no form for other control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\n' => out.push_str("&#xA;"),
            '\t' => out.push_str("&#x9;"),
            control if control.is_control() => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_its_failures_and_a_broken_file_its_error() {
        let good = Report {
            cases: vec![("a".to_owned(), vec![]), ("b".to_owned(), vec!["x < 1".to_owned()])],
            faults: vec!["x < 1".to_owned()],
            ..Report::default()
        };
        let broken = Report { faults: vec!["no \"file\"".to_owned()], ..Report::default() };
        let expect = "<testsuites><testsuite name=\"g.yml\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\">\
                      <testcase name=\"a\"></testcase><testcase name=\"b\"><failure>x &lt; 1</failure></testcase></testsuite>\
                      <testsuite name=\"b.yml\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\
                      <testcase name=\"unknown\"><error>no &#34;file&#34;</error></testcase></testsuite></testsuites>\n";
        assert_eq!(document(&[("g.yml".to_owned(), good), ("b.yml".to_owned(), broken)]), expect);
    }
}
