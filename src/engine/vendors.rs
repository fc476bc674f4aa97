//! Who made a network interface, by the list that another program has brought along. It reads that
//! list and nothing else. The first list that is there is used; portreeve has none of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::report::MacAddress;

/// nmap's list comes first: it is the shortest, and has virtual machines too.
const LISTS: [&str; 4] = [
    "/usr/share/nmap/nmap-mac-prefixes",
    "/usr/local/share/nmap/nmap-mac-prefixes",
    "/usr/share/arp-scan/ieee-oui.txt",
    "/usr/share/ieee-data/oui.txt",
];
/// The most blocks that are remembered. On a link with more makers, some are looked up twice.
const REMEMBERED: usize = 1_024;

/// Three octets, the block that IEEE assigns or divides further.
type Block = [u8; 3];

/// The makers that were looked up so far. A list has a megabyte or more, so it is not kept: it is
/// read once for each block, which takes some milliseconds.
#[derive(Debug, Default)]
pub(super) struct Vendors {
    /// What the list says of a block: prefixes in hexadecimal digits, and makers.
    known: HashMap<Block, Vec<(String, Box<str>)>>,
}

impl Vendors {
    /// The maker of an address.
    pub fn of(&mut self, mac: MacAddress) -> Option<Box<str>> {
        let MacAddress([a, b, c, ..]) = mac;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let entries = self.known.entry([a, b, c]).or_insert_with(|| {
            let list = LISTS.iter().find_map(|path| File::open(path).ok());
            list.map_or(Vec::new(), |list| entries(BufReader::new(list), [a, b, c]))
        });
        longest(entries, mac)
    }
}

/// The maker with the longest prefix: a block may be divided among several.
fn longest(entries: &[(String, Box<str>)], mac: MacAddress) -> Option<Box<str>> {
    let digits: String = mac.0.iter().map(|octet| format!("{octet:02X}")).collect();
    let fitting = entries
        .iter()
        .filter(|(prefix, _)| digits.starts_with(prefix));
    fitting
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, vendor)| vendor.clone())
}

/// What a list says of a block. A list that cannot be read to its end says less.
fn entries(mut list: impl BufRead, block: Block) -> Vec<(String, Box<str>)> {
    let block: String = block.iter().map(|octet| format!("{octet:02X}")).collect();
    let mut found = Vec::new();
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let entry = entry(&String::from_utf8_lossy(&line));
        found.extend(entry.filter(|(prefix, _)| prefix.starts_with(&block)));
        line.clear();
    }
    found
}

/// A line of any of the lists: `525400 QEMU virtual NIC`, `00:55:DA:0<TAB>Shinko`, or
/// `00-22-72   (hex)<TAB>American Micro-Fuel`. Other lines have no prefix at their beginning.
fn entry(line: &str) -> Option<(String, Box<str>)> {
    let (prefix, vendor) = line.split_once(char::is_whitespace)?;
    let prefix = prefix.replace(['-', ':'], "").to_ascii_uppercase();
    let is_prefix =
        (6..=9).contains(&prefix.len()) && prefix.bytes().all(|digit| digit.is_ascii_hexdigit());
    let vendor = vendor.trim();
    let vendor = vendor.strip_prefix("(hex)").map_or(vendor, str::trim);
    // IEEE's own list has each block twice, once for each way of writing it.
    let is_name = !vendor.is_empty() && !vendor.starts_with("(base 16)");
    (is_prefix && is_name).then(|| (prefix, vendor.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_read() {
        let nmap = "# Original data\n000000 Xerox\n0055DA IEEE Registration Authority\n\
                    0055DA0 Shinko\n525400 QEMU virtual NIC\n";
        let arp_scan = "#\n00:55:DA:0\tShinko Technos\n52:54:00\tQEMU\n";
        let ieee = b"OUI/MA-L\t\tOrganization\ncompany_id\t\t\t\tAddress\n\n\
            00-22-72   (hex)\t\tAmerican Micro-Fuel\r\n\
            002272     (base 16)\t\tAmerican Micro-Fuel\r\n\t\t\t\t2181 Buchanan\r\n\
            AC-DE-48   (hex)\t\tCaf\xe9\n";
        let check = |list: &[u8], mac: &str, expect: Option<&str>| {
            let mac = MacAddress::parse(mac).expect("an address");
            let MacAddress([a, b, c, ..]) = mac;
            let vendor = longest(&entries(list, [a, b, c]), mac);
            assert_eq!(vendor.as_deref(), expect, "{mac}");
        };
        check(nmap.as_bytes(), "00:00:00:00:00:01", Some("Xerox"));
        check(nmap.as_bytes(), "00:55:DA:0F:00:00", Some("Shinko"));
        check(
            nmap.as_bytes(),
            "00:55:DA:1F:00:00",
            Some("IEEE Registration Authority"),
        );
        check(
            nmap.as_bytes(),
            "52:54:00:12:34:56",
            Some("QEMU virtual NIC"),
        );
        check(nmap.as_bytes(), "02:00:00:00:00:01", None);
        check(
            arp_scan.as_bytes(),
            "00:55:DA:00:00:01",
            Some("Shinko Technos"),
        );
        check(arp_scan.as_bytes(), "00:55:DA:10:00:01", None);
        check(ieee, "00:22:72:00:00:01", Some("American Micro-Fuel"));
        check(ieee, "AC:DE:48:00:00:01", Some("Caf\u{fffd}"));
        check(b"", "AC:DE:48:00:00:01", None);
    }
}
