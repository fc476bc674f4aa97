//! Text from strangers made harmless: names and settings for a terminal, banners for any format. It
//! knows letters, no findings.

/// The most marks that may stand on one letter: more of them cover other lines.
const MARKS_ON_A_LETTER: u32 = 2;

/// Text that is safe on a terminal: a letter that would move the cursor, change colours, reverse
/// the direction of writing, or not be seen is written as in Rust, `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    escape_into(&mut plain, text, |_| false);
    plain
}

/// A banner that is safe anywhere: printable text as it is, everything else as in Rust,
/// `\r\n\u{1b}\xff`. A backslash is doubled, so that different banners look different.
pub(super) fn banner_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        escape_into(&mut text, chunk.valid(), |letter| letter == '\\');
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Adds `text` to `plain`; what acts, is `special`, or is one mark too many is escaped.
fn escape_into(plain: &mut String, text: &str, special: impl Fn(char) -> bool) {
    let mut marks = 0;
    for letter in text.chars() {
        marks = if is_mark(letter) { marks + 1 } else { 0 };
        if marks > MARKS_ON_A_LETTER || acts(letter) || special(letter) {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
}

/// Whether a letter does more than appear, or less: everything but visible letters and the space.
fn acts(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    is_unseen_letter(letter) || !appears(letter)
}

/// Letters by their category that nobody sees (Unicode's Default_Ignorable_Code_Point).
fn is_unseen_letter(letter: char) -> bool {
    let is_joiner_or_filler = matches!(
        letter,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
    );
    let is_variation_selector = matches!(
        letter,
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
    );
    is_joiner_or_filler || is_variation_selector
}

/// Whether a letter beyond ASCII has a form, by the standard library's tables: it is no control or
/// format character, no blank, not private and not unassigned. Within a text it leaves marks as
/// they are.
fn appears(letter: char) -> bool {
    let mut bytes = [b'_', 0, 0, 0, 0];
    let length = letter.encode_utf8(&mut bytes[1..]).len();
    let text = std::str::from_utf8(&bytes[..=length]);
    text.is_ok_and(|text| text.escape_debug().nth(1) == Some(letter))
}

/// Whether a letter is drawn onto the one before it (Grapheme_Extend): alone, the standard library
/// escapes it.
fn is_mark(letter: char) -> bool {
    !letter.is_ascii() && appears(letter) && letter.escape_debug().len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays() {
        for text in [
            "a b~'\"",
            "é ü ß",
            "日本語",
            "Ω→…",
            "e\u{301}\u{323}x",
            "สวัสดี",
            "עִבְרִית",
            "😀",
        ] {
            assert_eq!(printable(text), text);
            assert_eq!(banner_text(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_acts_or_is_not_seen_is_written_out() {
        for letter in [
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{a0}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180b}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2064}',
            '\u{2069}',
            '\u{3164}',
            '\u{e000}',
            '\u{fdd0}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fffe}',
            '\u{1d173}',
            '\u{1ffff}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{f0000}',
            '\u{10ffff}',
        ] {
            let escaped = letter.escape_unicode().to_string();
            assert_eq!(printable(&letter.to_string()), escaped);
            assert_eq!(banner_text(letter.to_string().as_bytes()), escaped);
        }
    }

    #[test]
    fn marks_do_not_pile_up() {
        assert_eq!(
            printable("a\u{300}\u{301}\u{302}\u{303}b\u{300}"),
            "a\u{300}\u{301}\\u{302}\\u{303}b\u{300}"
        );
    }
}
