//! Routes: which servers the records of a device type, or a key, belong to.

use memc_core::{Address, Distribution, Group, GroupServer};

/// A device type with its servers.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) device_type: String,
    pub(crate) group: Group,
}

impl Route {
    /// A route as `--route` takes it.
    pub(crate) fn parse(text: &str, distribution: Distribution) -> Result<Self, String> {
        let (device_type, servers) =
            text.split_once('=').ok_or("give TYPE=ADDR, such as imei=127.0.0.1:33017")?;
        // Others can be no part of a key.
        if device_type.is_empty() || !device_type.bytes().all(|byte| byte > 32 && byte != 127) {
            return Err("the device type before '=' must be one word".to_owned());
        }
        Self::new(device_type, servers, distribution)
    }

    /// The route of a device type to one server or a list.
    pub(crate) fn new(device_type: &str, servers: &str, distribution: Distribution) -> Result<Self, String> {
        let servers = GroupServer::list(servers).map_err(|error| error.to_string())?;
        let group = Group::new(servers, distribution).map_err(|error| error.to_string())?;
        Ok(Self { device_type: device_type.to_owned(), group })
    }

    /// Whether there are several servers.
    pub(crate) fn is_list(&self) -> bool {
        self.group.servers().len() > 1
    }

    /// The addresses of its servers.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.group.servers().iter().map(|server| &server.address)
    }

    /// The option that sets the servers.
    pub(crate) fn option(&self) -> String {
        match self.device_type.as_str() {
            name @ ("idfa" | "gaid" | "adid" | "dvid") => format!("--{name}"),
            name => format!("--route {name}=ADDR"),
        }
    }

    /// The option that sets this one of its servers, and which one of a list it is.
    pub(crate) fn option_of(&self, server: usize) -> String {
        if self.is_list() {
            format!("{} server {} of {}", self.option(), server + 1, self.group.servers().len())
        } else {
            self.option()
        }
    }
}

/// The device types and the groups of the routes, as a loader takes them.
pub(crate) fn unzip(routes: &[Route]) -> (Vec<String>, Vec<Group>) {
    routes.iter().cloned().map(|route| (route.device_type, route.group)).unzip()
}

/// The distribution of the lists, if there are any.
pub(crate) fn distribution(routes: &[Route]) -> Option<Distribution> {
    routes.iter().find(|route| route.is_list()).map(|route| route.group.distribution())
}

/// The routes in the text of a variable, which have white space between them as the servers of a list may.
pub(crate) fn in_variable(text: &str) -> Vec<String> {
    let mut routes: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match routes.last_mut() {
            // Behind a comma comes a server, and a word without `=` may be the name of one in a list.
            Some(route)
                if route.ends_with(',')
                    || word.starts_with(',')
                    || !word.contains('=') && (route.contains(',') || word.contains(',')) =>
            {
                *route += " ";
                *route += word;
            }
            _ => routes.push(word.to_owned()),
        }
    }
    routes
}

/// A device type that has two routes.
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

    fn route(text: &str) -> Result<Route, String> {
        Route::parse(text, Distribution::Ketama)
    }

    #[test]
    fn the_longest_type_that_fits_takes_the_key() -> Result<(), String> {
        let routes = ["idfa=h:1", "idfa:x=h:2", "id=h:3"].map(route);
        let routes = routes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let of = |key: &str| of_key(&routes, key.as_bytes()).map(|route| route.group.to_string());
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

    #[test]
    fn a_variable_has_several_routes_and_each_may_be_a_list() {
        for (text, routes) in [
            ("", &[][..]),
            ("a=h:1", &["a=h:1"]),
            (" a=h:1  b=h:2 ", &["a=h:1", "b=h:2"]),
            ("a=h:1,i:1 b=h:2", &["a=h:1,i:1", "b=h:2"]),
            ("a=h:1, ann:x=y@i:1 b=h:2", &["a=h:1, ann:x=y@i:1", "b=h:2"]),
            ("a=h:1:2 one,i:1 two b=h:2", &["a=h:1:2 one,i:1 two", "b=h:2"]),
            ("a=h:1 , i:1 b=h:2", &["a=h:1 , i:1", "b=h:2"]),
            ("a=h:1 i:1", &["a=h:1", "i:1"]),
        ] {
            assert_eq!(in_variable(text), routes, "{text}");
        }
    }

    #[test]
    fn the_servers_of_a_list_are_numbered() -> Result<(), String> {
        let list = route("imei=h:1,i:1")?;
        assert_eq!(list.option_of(1), "--route imei=ADDR server 2 of 2");
        assert_eq!(route("idfa=h:1")?.option_of(0), "--idfa");
        assert_eq!(distribution(&[route("idfa=h:1")?]), None);
        assert_eq!(distribution(&[route("idfa=h:1")?, list]), Some(Distribution::Ketama));
        Ok(())
    }
}
