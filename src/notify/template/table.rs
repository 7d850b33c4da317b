//! What Alertmanager's own tests of its templates expect, where they need no HTML.

use std::collections::BTreeMap;

use crate::model::labels::Labels;
use crate::notify::template::Data;
use crate::notify::template::tests::{alert, set};

const GOOD: &[(&str, &str)] = &[
    ("abc", "abc"),
    ("{{ \"abc\" }}", "abc"),
    ("{{ \"abc\" | toUpper }} {{ \"ABC\" | toLower }} {{ \"abc\" | title }}", "ABC abc Abc"),
    ("{{ \" a b c \" | trimSpace }}", "a b c"),
    ("{{ if match \"^a\" \"abc\"}}abc{{ end }}{{ if match \"abcd\" \"abc\" }}no{{ end }}", "abc"),
    ("{{ stringSlice \"a\" \"b\" \"c\" | join \",\" }}", "a,b,c"),
    ("{{ \"<b>\" }}{{ \"<b>\" | safeHtml }}", "<b><b>"),
    ("{{ reReplaceAll \"ab\" \"AB\" \"abcdabcda\"}}", "ABcdABcda"),
    ("{{ \"search?q=test%20foo\" | urlUnescape }}", "search?q=test foo"),
    (
        "{{ with .GroupLabels }}{{ with .Remove (stringSlice \"key1\" \"key3\") }}{{ .SortedPairs.Values }}{{ end }}{{ end }}",
        "[key2 key4]",
    ),
    ("{{ \"test\" | toJson }} {{ 42 | toJson }} {{ true | toJson }}", "\"test\" 42 true"),
    ("{{ dict \"key\" \"value\" \"number\" 123 | toJson }}", "{\"key\":\"value\",\"number\":123}"),
    ("{{ list \"a\" \"b\" \"c\" | toJson }}", "[\"a\",\"b\",\"c\"]"),
    ("{{ .GroupLabels | toJson }}", "{\"key1\":\"key1\",\"key2\":\"key2\",\"key3\":\"key3\",\"key4\":\"key4\"}"),
    (
        "{{ .Alerts.Firing | toJson }}",
        "[{\"status\":\"firing\",\"labels\":{\"alertname\":\"Down\",\"instance\":\"a\",\"job\":\"vm\"},\"annotations\":{\"summary\":\"It is down\"},\"startsAt\":\"2020-09-13T12:26:40Z\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"generatorURL\":\"http://nova:9090/graph\",\"fingerprint\":\"FINGERPRINT\"}]",
    ),
    ("{{ \"test\" | base64encode }} {{ \"flush>>\" | base64encode }}", "dGVzdA== Zmx1c2g-Pg=="),
    ("{{ \"dGVzdA==\" | base64decode }}", "test"),
    ("{{- $test := dict -}}{{ $test }}", "map[]"),
    ("{{- $test := dict \"a\" 1 \"b\" 2 \"c\" 3 -}}{{ $test }}", "map[a:1 b:2 c:3]"),
    ("{{- $test := list -}}{{ $test }}", "[]"),
    ("{{- $test := list \"a\" \"b\" -}}{{ $test = append $test \"c\" \"d\" -}}{{ $test }}", "[a b c d]"),
    (
        "{{- $newList := list -}}{{ range .Alerts }}{{ $m := dict \"status\" .Status }}{{ $newList = append $newList $m }}{{ end }}{{ toJson $newList }}",
        "[{\"status\":\"firing\"},{\"status\":\"resolved\"}]",
    ),
    // Route labels are rendered already, and not a second time.
    ("Simple: {{ routeLabels \"rl1\" }} [{{ routeLabels \"nope\" }}]", "Simple: rl1 []"),
    ("[{{ routeLabels \"desc\" }}]", "[disk usage is {{ $value | humanize }}]"),
];

const BAD: &[&str] =
    &["{{ ", "{{ \"not-valid-base64!\" | base64decode }}", "{{ dict \"a\" }}", "{{ dict 1 \"value\" }}"];

#[test]
fn the_cases_of_alertmanager() {
    let alerts = [alert("a", i64::MAX), alert("b", 1_650_000_000_000)];
    let group_labels = Labels::from_pairs(["key1", "key2", "key3", "key4"].map(|key| (key, key)));
    let route_labels = [("rl1", "rl1"), ("desc", "disk usage is {{ $value | humanize }}")];
    let route_labels: BTreeMap<String, String> = route_labels.map(|(name, value)| (name.into(), value.into())).into();
    let data = Data::build("r", &alerts, 1_700_000_000_000).group(&group_labels, &route_labels);
    let fingerprint = alerts[0].fingerprint().to_string();
    let mut wrong = Vec::new();
    for (text, expected) in GOOD {
        let got = set().expand(text, &data).map_err(|error| error.to_string());
        let expected = expected.replace("FINGERPRINT", &fingerprint);
        if got.as_deref() != Ok(expected.as_str()) {
            wrong.push(format!("{text}\n  expected {expected}\n  got      {got:?}"));
        }
    }
    wrong.extend(
        BAD.iter().filter(|text| set().expand(text, &data).is_ok()).map(|text| format!("{text} is not refused")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
