//! The stores behind the traits of the languages, with admission, limits and the query log.
