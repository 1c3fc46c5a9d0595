//! The hosts file: a `host:port` a line, one for each process.

use std::path::Path;
use std::str::FromStr;

use crate::error::ClusterError;

/// The addresses of all processes, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Reads the file. Blank lines and those that start with `#` are skipped.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a line, which is named by its number, is no `host:port` or is there twice.
    pub fn read(path: &Path) -> Result<Self, ClusterError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ClusterError::HostsFile { path: name.clone(), source })?;
        text.parse().map_err(|problem| ClusterError::Hosts { path: name, problem })
    }

    /// How many processes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address of a process.
    #[must_use]
    pub fn address(&self, process: usize) -> Option<&str> {
        self.0.get(process).map(String::as_str)
    }

    /// All of them in one text.
    pub(crate) fn joined(&self) -> String {
        self.0.join(" ")
    }
}

impl FromStr for Hosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut hosts: Vec<(usize, &str)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let host = line.trim();
            if host.is_empty() || host.starts_with('#') {
                continue;
            }
            check(host).map_err(|problem| {
                format!("line {number}: '{host}' is not an address: {problem} (give host:port or [v6]:port)")
            })?;
            if let Some((first, _)) = hosts.iter().find(|(_, it)| *it == host) {
                return Err(format!("line {number}: '{host}' is there already, in line {first}"));
            }
            hosts.push((number, host));
        }
        if hosts.is_empty() {
            return Err("there is no address in it: give a host:port a line".to_owned());
        }
        Ok(Self(hosts.into_iter().map(|(_, host)| host.to_owned()).collect()))
    }
}

fn check(address: &str) -> Result<(), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("it has no port")?;
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err("its port is no number from 1 to 65535");
    }
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match in_brackets {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("it has no IPv6 address in its brackets"),
        None if host.is_empty() => Err("it has no host"),
        None if host.contains(':') => Err("an IPv6 address needs brackets"),
        None if host.contains(char::is_whitespace) => Err("it has a space in it"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address() {
        let hosts: Hosts = "# two\n a:1 \n\n[::1]:2\n".parse().expect("two addresses");
        assert_eq!((hosts.len(), hosts.address(1), hosts.address(2)), (2, Some("[::1]:2"), None));
        assert_eq!(hosts.joined(), "a:1 [::1]:2");
        for (text, problem) in [
            ("", "there is no address in it: give a host:port a line"),
            ("a:1\nb", "line 2: 'b' is not an address: it has no port (give host:port or [v6]:port)"),
            (
                "a:0",
                "line 1: 'a:0' is not an address: its port is no number from 1 to 65535 (give host:port or [v6]:port)",
            ),
            (
                "::1:7",
                "line 1: '::1:7' is not an address: an IPv6 address needs brackets (give host:port or [v6]:port)",
            ),
            (":7", "line 1: ':7' is not an address: it has no host (give host:port or [v6]:port)"),
            ("a:1\n\na:1", "line 3: 'a:1' is there already, in line 1"),
        ] {
            assert_eq!(text.parse::<Hosts>(), Err(problem.to_owned()));
        }
    }
}
