//! Recording and alerting rules, and objectives.
