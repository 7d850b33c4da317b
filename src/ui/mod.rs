//! What is embedded for browsers: style sheet, logo, and the few pieces of HTML and SVG that pages are made of.
//!
//! Pages have no scripts and load nothing from elsewhere, so they work offline, on a phone, and under the strictest
//! content policy. This module knows no data: callers give text and numbers, and everything is escaped here.

pub mod chart;
pub mod html;

/// The style sheet of all pages; it goes into the head, so that a page is one request.
pub const STYLE: &str = include_str!("status.css");

/// The logo: a star that just went up, beside its light curve.
pub const LOGO: &str = include_str!("logo.svg");
