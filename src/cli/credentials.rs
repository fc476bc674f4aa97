//! User names and passwords in URLs: no part of a target, so they are not kept and not printed. It
//! knows text only.

use std::ffi::OsString;

/// The text without the user names and passwords of its URLs.
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let ends = |letter: char| letter.is_whitespace() || matches!(letter, '/' | '?' | '#');
        let authority_bytes = part.find(ends).unwrap_or(part.len());
        let host_at = part[..authority_bytes].rfind('@').map_or(0, |at| at + 1);
        kept += "://";
        kept += &part[host_at..];
    }
    kept
}

/// The same of a word of the command line. One that is no text (UTF-8) is no URL.
pub fn word_without_credentials(word: &OsString) -> OsString {
    word.to_str()
        .map_or_else(|| word.clone(), |text| without_credentials(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_before_the_host_is_dropped() {
        for (text, expect) in [
            ("http://user:pass@host/", "http://host/"),
            ("https://u:p@ss@[::1]:8443/a@b", "https://[::1]:8443/a@b"),
            ("http://u@host", "http://host"),
            ("http://host/?q=a@b", "http://host/?q=a@b"),
            ("http://host?a@b", "http://host?a@b"),
            (
                "--exclude=http://a:b@x,http://c:d@y/",
                "--exclude=http://x,http://y/",
            ),
            ("user@host -p 1", "user@host -p 1"),
            ("http://host\nuser@host", "http://host\nuser@host"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(text), expect);
        }
    }
}
