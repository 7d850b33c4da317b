//! Pieces of HTML.

use std::fmt::Write as _;

use crate::ui::{LOGO, STYLE};

/// Text for element content and attribute values.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A whole page. `head` stands beside the name in the header, `body` is the main part; both are HTML.
pub fn document(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <style>{STYLE}</style></head>\n<body><header>{LOGO}<h1>{title}</h1>{head}</header>\n<main>{body}</main></body></html>\n",
        title = escape(title),
    )
}

/// A section with a heading; `body` is HTML.
pub fn section(heading: &str, body: &str) -> String {
    format!("<section><h2>{}</h2>{body}</section>\n", escape(heading))
}

/// A table. Cells are text; columns from the second on are numbers and stand to the right.
pub fn table(caption: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = format!("<div class=\"scroll\"><table><caption>{}</caption><thead><tr>", escape(caption));
    for column in columns {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(column));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            let _ =
                if at == 0 { write!(html, "<th scope=\"row\">{cell}</th>") } else { write!(html, "<td>{cell}</td>") };
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// Something to paste: a heading that opens it, and the text.
pub fn snippet(heading: &str, text: &str, open: bool) -> String {
    let open = if open { " open" } else { "" };
    format!("<details{open}><summary>{}</summary><pre tabindex=\"0\">{}</pre></details>", escape(heading), escape(text))
}

/// A number for people: three digits and a unit of thousands.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    for (unit, size) in [("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if magnitude >= size * 0.9995 {
            return format!("{} {unit}", digits(value / size));
        }
    }
    digits(value)
}

/// Bytes for people.
pub fn bytes(value: f64) -> String {
    for (unit, size) in [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0)] {
        if value.abs() >= size {
            return format!("{} {unit}", digits(value / size));
        }
    }
    format!("{} B", digits(value))
}

/// A duration in seconds for people: its two largest units.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days} d {hours} h")
    } else if hours > 0 {
        format!("{hours} h {minutes} min")
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

fn digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_three_digits() {
        assert_eq!(
            ["0", "12", "1.50", "12.3", "999"],
            [0.0, 12.0, 1.5, 12.34, 999.0].map(short).each_ref().map(|s| &**s)
        );
        assert_eq!(short(1_000.0), "1 k");
        assert_eq!(short(2_534_000.0), "2.53 M");
        assert_eq!(bytes(26_214_400.0), "25 MiB");
        assert_eq!(duration(93_784), "1 d 2 h");
        assert_eq!(duration(61), "1 min 1 s");
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let table = table("c", &["a"], &[vec!["<script>".to_owned(), "\"&'".to_owned()]]);
        assert!(table.contains("&lt;script&gt;") && table.contains("&quot;&amp;&#39;"));
        assert!(!table.contains("<script"));
    }
}
