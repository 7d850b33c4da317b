//! Amazon SNS: one signed form request.

use ring::{digest, hmac};

use super::{Answer, Compose, ComposeError, Request, hex};
use crate::base::clock::Millis;
use crate::notify::config::receivers::settings::{Sigv4, Sns};
use crate::notify::template::go_rfc3339;

/// SNS takes at most this much.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

impl Compose<'_> {
    pub(super) fn sns(&self, config: &Sns) -> Result<Request, ComposeError> {
        let sigv4 = &config.sigv4;
        if sigv4.region.is_empty() || sigv4.access_key.is_empty() {
            let text = "sns needs sigv4 with region, access_key and secret_key; profiles and roles are not supported";
            return Err(ComposeError::Settings(text.to_owned()));
        }
        let mut message = self.text(&config.message)?;
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        let mut fields =
            vec![("Action".to_owned(), "Publish".to_owned()), ("Version".to_owned(), "2010-03-31".to_owned())];
        for (name, template) in
            [("TopicArn", &config.topic_arn), ("PhoneNumber", &config.phone_number), ("TargetArn", &config.target_arn)]
        {
            let value = self.text(template)?;
            if !value.is_empty() {
                fields.push((name.to_owned(), value));
            }
        }
        let subject = self.text_within(&config.subject, 100)?;
        if !subject.is_empty() {
            fields.push(("Subject".to_owned(), subject));
        }
        fields.push(("Message".to_owned(), message));
        for (number, (name, template)) in config.attributes.iter().enumerate() {
            let entry = format!("MessageAttributes.entry.{}", number + 1);
            fields.push((format!("{entry}.Name"), self.text(name)?));
            fields.push((format!("{entry}.Value.DataType"), "String".to_owned()));
            fields.push((format!("{entry}.Value.StringValue"), self.text(template)?));
        }
        let body: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        let endpoint = self.text(&config.api_url)?;
        let endpoint =
            if endpoint.is_empty() { format!("https://sns.{}.amazonaws.com", sigv4.region) } else { endpoint };
        Ok(sign(&endpoint, body.join("&").into_bytes(), sigv4, self.now))
    }
}

/// Percent-encodes all but AWS' unreserved characters.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Signs a form request by AWS Signature Version 4.
fn sign(endpoint: &str, body: Vec<u8>, sigv4: &Sigv4, now: Millis) -> Request {
    let stamp: String = go_rfc3339(now - now.rem_euclid(1_000)).replace(['-', ':'], "");
    let date = stamp.get(..8).unwrap_or("").to_owned();
    let host = endpoint.split("://").nth(1).unwrap_or(endpoint).split('/').next().unwrap_or("").to_owned();
    let content_type = "application/x-www-form-urlencoded; charset=utf-8";
    let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!(
        "POST\n/\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{stamp}\n\ncontent-type;host;x-amz-date\n{}",
        hash(&body)
    );
    let scope = format!("{date}/{}/sns/aws4_request", sigv4.region);
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hash(canonical.as_bytes()));
    let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut key = mac(format!("AWS4{}", sigv4.secret_key.expose()).as_bytes(), &date);
    for part in [sigv4.region.as_str(), "sns", "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &to_sign).as_ref());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host;x-amz-date, Signature={signature}",
        sigv4.access_key
    );
    Request {
        method: "POST",
        url: format!("{}/", endpoint.trim_end_matches('/')),
        headers: vec![
            ("content-type", content_type.to_owned()),
            ("x-amz-date", stamp),
            ("authorization", authorization),
        ],
        body,
        answer: Answer::Status,
    }
}
