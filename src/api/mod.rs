//! Every API that is compatible with something, and our own.
