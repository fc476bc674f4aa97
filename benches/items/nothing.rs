//! This package has benches only.
