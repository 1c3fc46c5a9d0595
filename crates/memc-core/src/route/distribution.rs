//! How the readers of a group of servers choose the one that holds a key.

use std::fmt;
use std::str::FromStr;

/// How the readers of a [`Group`](crate::Group) choose the server that holds a key.
///
/// | readers, and their settings | |
/// | --- | --- |
/// | php-memcached with `OPT_LIBKETAMA_COMPATIBLE`, pylibmc with `ketama_weighted`, spymemcached's `KetamaConnectionFactory`, twemproxy with `distribution: ketama` and `hash: md5` | [`Ketama`](Self::Ketama) |
/// | pylibmc with `ketama`, also as in Django's documentation, php-memcached with `DISTRIBUTION_CONSISTENT` | [`KetamaPlain`](Self::KetamaPlain) |
/// | php-memcached and pylibmc without settings, twemproxy with `distribution: modula` and `hash: one_at_a_time` | [`OneAtATime`](Self::OneAtATime) |
/// | python-memcached from 1.60, pylibmc with `"hash": "crc"`, twemproxy with `distribution: modula` and `hash: crc32` | [`Crc32`](Self::Crc32) |
/// | python-memcached until 1.59 | [`Crc32Nonzero`](Self::Crc32Nonzero) |
/// | gomemcache, twemproxy with `distribution: modula` and `hash: crc32a` | [`Crc32Ieee`](Self::Crc32Ieee) |
/// | pymemcache's `HashClient` | [`Rendezvous`](Self::Rendezvous) |
///
/// With `modula` twemproxy does not count servers in the order of its configuration, but sorts them by name
/// (or else `host:port`, the host alone at port 11211): shorter ones first, and those of one length by their
/// bytes. Give them in that order.
///
/// ```
/// use memc_core::Distribution;
///
/// assert_eq!("ketama-plain".parse(), Ok(Distribution::KetamaPlain));
/// assert_eq!(Distribution::default().name(), "ketama");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distribution {
    /// A ring with 160 points of each server, more or less by its weight, all from MD5 sums.
    ///
    /// Points are made of a server's name, or else of `host:port`; of the host alone at port 11211, and of
    /// `/path:0` for a Unix socket. Where readers use other text, make it the server's name:
    ///
    /// - php-memcached has `/path` for a socket, twemproxy `/path:`.
    /// - spymemcached has `10.0.0.1:11211` at port 11211, too, and `cache1/10.0.0.1:11211` for a host by name. With
    ///   its `Format.LIBMEMCACHED` it has the text above, of the name that the DNS has for an address.
    #[default]
    Ketama,
    /// A ring with 100 points of each server. Points and keys are hashed by Jenkins' one-at-a-time.
    ///
    /// If any server has a weight above 1, the ring is that of [`Ketama`](Self::Ketama), and only keys are hashed
    /// in this way. The names in points are the same. php-memcached knows of weights only if its option is set
    /// before the servers are added.
    KetamaPlain,
    /// Jenkins' one-at-a-time of the key, modulo the servers. Without weights and names; php-memcached and
    /// pylibmc make nothing of a weight.
    OneAtATime,
    /// Fifteen bits of the key's CRC-32, modulo the buckets: a server has one for each unit of weight.
    Crc32,
    /// As [`Crc32`](Self::Crc32), but a hash of 0 counts as 1, which concerns one key in 32,768.
    Crc32Nonzero,
    /// The whole CRC-32 of the key, modulo the buckets: a server has one for each unit of weight.
    Crc32Ieee,
    /// The server with the highest murmur3 of `host:port-key`, or `/path-key`. Without weights and names.
    ///
    /// For keys that the reader gives as `str`. `HashClient` looks for a key of type `bytes` elsewhere.
    Rendezvous,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ketama,
        Self::KetamaPlain,
        Self::OneAtATime,
        Self::Crc32,
        Self::Crc32Nonzero,
        Self::Crc32Ieee,
        Self::Rendezvous,
    ];

    /// Its name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ketama => "ketama",
            Self::KetamaPlain => "ketama-plain",
            Self::OneAtATime => "one-at-a-time",
            Self::Crc32 => "crc32",
            Self::Crc32Nonzero => "crc32-nonzero",
            Self::Crc32Ieee => "crc32-ieee",
            Self::Rendezvous => "rendezvous",
        }
    }

    /// How many hashes there are.
    pub(crate) const fn hashes(self) -> u64 {
        match self {
            Self::Crc32 | Self::Crc32Nonzero => 1 << 15,
            _ => 1 << 32,
        }
    }

    /// If its readers can give a server a weight, and a name (be it to no effect).
    pub(crate) const fn has_weights_and_names(self) -> bool {
        !matches!(self, Self::OneAtATime | Self::Rendezvous)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Distribution {
    type Err = DistributionError;

    fn from_str(text: &str) -> Result<Self, DistributionError> {
        let known = Self::ALL.into_iter().find(|it| it.name() == text);
        known.ok_or_else(|| DistributionError { text: text.to_owned() })
    }
}

/// A name that no [`Distribution`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a distribution: give {}", names())]
pub struct DistributionError {
    text: String,
}

fn names() -> String {
    let [first @ .., last] = Distribution::ALL.map(Distribution::name);
    format!("{} or {last}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        for distribution in Distribution::ALL {
            assert_eq!(distribution.to_string().parse(), Ok(distribution));
        }
        let error = "Ketama".parse::<Distribution>().map_err(|error| error.to_string());
        let expected = "'Ketama' is not a distribution: give ketama, ketama-plain, one-at-a-time, crc32, \
                        crc32-nonzero, crc32-ieee or rendezvous";
        assert_eq!(error, Err(expected.to_owned()));
    }
}
