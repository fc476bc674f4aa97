//! Long lines broken between words, as a terminal is wide. It knows text and numbers; its callers
//! know whether there is a terminal.

use textwrap::{Options, WordSplitter};

/// The size of a terminal, in letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Its width.
    pub columns: usize,
    /// Its height.
    pub rows: usize,
}

/// A space that no line is broken at. [`hanging`] makes it a plain one.
pub(super) const NO_BREAK: char = '\u{a0}';
/// How much deeper a line goes on.
const DEEPER: usize = 2;

/// A text whose lines are broken between words. The rest of a line stands a little deeper than its
/// beginning.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut all = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let words = line.trim_end_matches('\n');
        let indent = words.len() - words.trim_start_matches(' ').len();
        all += &hanging(words, columns, indent + DEEPER);
        all += &line[words.len()..];
    }
    all
}

/// A line broken between words, whose rest stands this deep. A word that is too long stays whole.
pub(super) fn hanging(line: &str, columns: usize, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let options = Options::new(columns)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(line, options).replace(NO_BREAK, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, columns: usize, expect: &str) {
        assert_eq!(wrapped(text, columns), expect, "{text} in {columns}");
    }

    #[test]
    fn lines_are_broken_between_words_only() {
        check("it fits", 7, "it fits");
        check("one two three", 8, "one two\n  three");
        check("  one two three", 9, "  one two\n    three");
        check("a syn-ack/proxy", 5, "a\n  syn-ack/proxy");
        check("a  b   c\n\nnext\n", 80, "a  b   c\n\nnext\n");
        check("80\u{a0}http, 22\u{a0}ssh", 10, "80 http,\n  22 ssh");
        check(
            "\u{1b}[1mbold\u{1b}[0m text",
            9,
            "\u{1b}[1mbold\u{1b}[0m text",
        );
        check("a b", 0, "a\n  b");
        check("", 3, "");
    }
}
