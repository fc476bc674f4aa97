//! Tables that are kept in files, so that a change of what they say is seen and has to be accepted.

/// Fails the test unless the table is the one in this file of the checkout. `PORTREEVE_BLESS=1`
/// writes it there instead.
pub fn is_as_it_was(file: &str, table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("PORTREEVE_BLESS").is_some() {
        std::fs::write(&path, table).expect("a writable checkout");
    }
    let before = std::fs::read_to_string(&path).expect("the table");
    assert!(
        table == before,
        "the table has changed; if it is for the better, PORTREEVE_BLESS=1 accepts it:\n{table}"
    );
}
