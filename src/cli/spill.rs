//! The file for findings that are too many to be held in memory. It has no name, so it is gone when
//! the process is. It knows folders, no findings.

use std::fs::File;
use std::path::Path;

/// Opens it beside a report, which needs much more room there; or else where temporary files are.
pub fn beside(report: Option<&Path>) -> Option<File> {
    let folder = report.and_then(Path::parent);
    let folder = folder.map(|folder| match folder.as_os_str() {
        name if name.is_empty() => Path::new("."),
        _ => folder,
    });
    let beside = folder.and_then(|folder| tempfile::tempfile_in(folder).ok());
    beside.or_else(|| tempfile::tempfile().ok())
}
