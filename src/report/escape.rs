//! Text from strangers made harmless: names and settings for a terminal, banners for any format. It
//! knows letters, no findings.

/// Text that is safe on a terminal: a letter that would move the cursor, change colours or reverse
/// the direction of writing is written as in Rust, `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if acts(letter) {
            plain.extend(letter.escape_default())
        } else {
            plain.push(letter)
        }
    }
    plain
}

/// A banner that is safe anywhere: printable text as it is, everything else as in Rust,
/// `\r\n\u{1b}\xff`. A backslash is doubled, so that different banners look different.
pub(super) fn banner_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if acts(letter) || letter == '\\' {
                text.extend(letter.escape_default())
            } else {
                text.push(letter)
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Whether a letter does more than appear: control characters, line breaks, and marks that change
/// the direction of writing.
fn acts(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns || matches!(letter, '\u{2028}' | '\u{2029}')
}
