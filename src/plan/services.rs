//! Names of TCP services: the system's database, and behind it a small built-in table. It parses
//! the text it is given and opens no file.

use std::collections::BTreeMap;

/// The service names of TCP ports.
///
/// The text format is that of services(5): `name port/protocol [alias …] [# comment]`.
#[derive(Clone, Debug, Default)]
pub struct Services {
    by_port: BTreeMap<u16, Box<str>>,
    aliases: Vec<(Box<str>, u16)>,
}

/// Used where the system's database is missing (in containers) or knows only a few names.
const BUILT_IN: &str = "
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp
domain 53/tcp
gopher 70/tcp
finger 79/tcp
http 80/tcp
kerberos 88/tcp
pop3 110/tcp
sunrpc 111/tcp
ident 113/tcp
nntp 119/tcp
ntp 123/tcp
epmap 135/tcp
netbios-ssn 139/tcp
imap2 143/tcp imap
snmp 161/tcp
bgp 179/tcp
irc 194/tcp
ldap 389/tcp
https 443/tcp
microsoft-ds 445/tcp
submissions 465/tcp
login 513/tcp
shell 514/tcp
printer 515/tcp
rtsp 554/tcp
submission 587/tcp
ipp 631/tcp
ldaps 636/tcp
rsync 873/tcp
imaps 993/tcp
pop3s 995/tcp
socks 1080/tcp
openvpn 1194/tcp
ms-sql-s 1433/tcp
oracle 1521/tcp
mqtt 1883/tcp
nfs 2049/tcp
docker 2375/tcp
etcd-client 2379/tcp
squid 3128/tcp
iscsi-target 3260/tcp
mysql 3306/tcp
ms-wbt-server 3389/tcp rdp
svn 3690/tcp
sip 5060/tcp
xmpp-client 5222/tcp
postgresql 5432/tcp
amqp 5672/tcp
vnc 5900/tcp
couchdb 5984/tcp
x11 6000/tcp
redis 6379/tcp
kubernetes-api 6443/tcp
irc-alt 6667/tcp
http-alt 8080/tcp
https-alt 8443/tcp
mqtts 8883/tcp
prometheus 9090/tcp
jetdirect 9100/tcp
elasticsearch 9200/tcp
git 9418/tcp
memcache 11211/tcp
mongodb 27017/tcp
";

impl Services {
    /// The small built-in table.
    pub fn built_in() -> Self {
        Self::with_system("")
    }

    /// The names in a services(5) text; the built-in table names the remaining ports. Lines that do
    /// not parse are skipped, as the C library does.
    pub fn with_system(text: &str) -> Self {
        let mut services = Services::default();
        for line in text.lines().chain(BUILT_IN.lines()) {
            services.add_line(line);
        }
        services
    }

    fn add_line(&mut self, line: &str) {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (Some(name), Some(place)) = (words.next(), words.next()) else {
            return;
        };
        let Some((port, "tcp")) = place.split_once('/') else {
            return;
        };
        let Ok(port) = port.parse() else { return };
        // Names are printed unchanged, so one that could control a terminal is rejected.
        if !name.chars().all(|c| c.is_ascii_graphic()) {
            return;
        }
        self.by_port.entry(port).or_insert_with(|| name.into());
        self.aliases
            .extend(words.chain([name]).map(|word| (word.into(), port)));
    }

    /// The service's name, if the port has one.
    pub fn name(&self, port: u16) -> Option<&str> {
        self.by_port.get(&port).map(AsRef::as_ref)
    }

    /// The ports whose name or alias matches `mask` (`*` for any run of characters, `?` for any
    /// one), ignoring case.
    pub fn matching<'a>(&'a self, mask: &'a str) -> impl Iterator<Item = u16> + 'a {
        let mask = mask.to_ascii_lowercase();
        self.aliases
            .iter()
            .filter(move |(name, _)| glob(mask.as_bytes(), name.to_ascii_lowercase().as_bytes()))
            .map(|&(_, port)| port)
    }
}

/// Whether `text` matches `mask`. Only the last star is remembered, so a hostile mask costs at most
/// the product of both lengths.
fn glob(mask: &[u8], text: &[u8]) -> bool {
    let mut m = 0;
    let mut t = 0;
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match mask.get(m) {
            Some(b'*') => {
                retry = Some((m + 1, t));
                m += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                m += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    m = after_star;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    mask[m..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_names_come_first_and_the_table_fills_in() {
        let services =
            Services::with_system("web\t80/tcp www # the web\nssh 22/udp\nbroken\nbad 99999/tcp\n");
        assert_eq!(services.name(80), Some("web"));
        assert_eq!(
            services.name(22),
            Some("ssh"),
            "the udp line does not count, the built-in name does"
        );
        assert_eq!(services.name(4), None);
        assert_eq!(services.matching("WWW").collect::<Vec<_>>(), [80]);
        assert!(services.matching("http*").eq([80, 443, 8080, 8443]));
    }

    #[test]
    fn names_that_drive_a_terminal_are_no_names() {
        assert_eq!(
            Services::with_system("\x1b[31mred 7777/tcp").name(7777),
            None
        );
    }

    #[test]
    fn masks() {
        for (mask, text, matches) in [
            ("http*", "http", true),
            ("http*", "https-alt", true),
            ("h?tp", "http", true),
            ("h?tp", "htp", false),
            ("*s", "https", true),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("", "x", false),
        ] {
            assert_eq!(
                glob(mask.as_bytes(), text.as_bytes()),
                matches,
                "{mask} on {text}"
            );
        }
    }
}
