//! Opens reports that are read back: files, and standard input. It knows no formats.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use portreeve::report::ReadError;

/// A report's name in messages, and what reads it; `-` is standard input.
pub fn open(path: &Path) -> Result<(String, Box<dyn BufRead>), ReadError> {
    if path.as_os_str() == "-" {
        return Ok(("standard input".into(), Box::new(io::stdin().lock())));
    }
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => Ok((name, Box::new(BufReader::new(file)))),
        Err(error) => Err(ReadError::Read { name, error }),
    }
}
