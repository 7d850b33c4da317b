//! Wire structures of the protocols that are decoded with generated code.
