//! Routes: which server the records of a device type, or a key, belong to.

use std::str::FromStr;

use memc_core::Address;

/// A device type with its server.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) device_type: String,
    pub(crate) server: Address,
}

impl Route {
    /// The option that sets the server.
    pub(crate) fn option(&self) -> String {
        match self.device_type.as_str() {
            name @ ("idfa" | "gaid" | "adid" | "dvid") => format!("--{name}"),
            name => format!("--route {name}=ADDR"),
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (device_type, server) =
            text.split_once('=').ok_or("give TYPE=ADDR, such as imei=127.0.0.1:33017")?;
        // Others can be no part of a key.
        if device_type.is_empty() || !device_type.bytes().all(|byte| byte > 32 && byte != 127) {
            return Err("the device type before '=' must be one word".to_owned());
        }
        let server = server.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { device_type: device_type.to_owned(), server })
    }
}

/// A device type that has two servers.
pub(crate) fn twice(routes: &[Route]) -> Option<&str> {
    let mut names: Vec<_> = routes.iter().map(|route| route.device_type.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The route of a key: that of the longest device type that it starts with, followed by a colon.
///
/// A device type may have colons in it, so a key alone may fit several.
pub(crate) fn of_key<'a>(routes: &'a [Route], key: &[u8]) -> Option<&'a Route> {
    let fits = |route: &&Route| {
        key.strip_prefix(route.device_type.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))
    };
    routes.iter().filter(fits).max_by_key(|route| route.device_type.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_type_that_fits_takes_the_key() -> Result<(), String> {
        let routes = ["idfa=h:1", "idfa:x=h:2", "id=h:3"].map(str::parse::<Route>);
        let routes = routes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let of = |key: &str| of_key(&routes, key.as_bytes()).map(|route| route.server.to_string());
        for (key, server) in [
            ("idfa:1", Some("h:1")),
            ("idfa:x:1", Some("h:2")),
            ("idfa:x", Some("h:1")),
            ("idfa:", Some("h:1")),
            ("id:fa", Some("h:3")),
            ("idfa", None),
            ("gaid:1", None),
            ("", None),
        ] {
            assert_eq!(of(key).as_deref(), server, "{key}");
        }
        Ok(())
    }
}
