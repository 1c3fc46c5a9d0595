//! The servers that the routes name: each address once, with the device types that it serves.

use std::fmt;

use memc_core::{Address, ServerReport};

use crate::args::routes::Route;

/// A server with the options that name it. Shown as `127.0.0.1:33013 (--idfa, --gaid)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// As reports and events name it, without a password.
    pub(crate) address: String,
    /// The device types whose records it holds, in the order of the options.
    pub(crate) device_types: Vec<String>,
    /// The options that name it, one for each device type.
    pub(crate) options: Vec<String>,
}

/// The servers of the routes, each once, in the order of their first device types.
pub(crate) fn of(routes: &[Route]) -> Vec<Server> {
    let mut servers: Vec<(&Address, Server)> = Vec::new();
    for route in routes {
        let known = servers.iter().position(|(address, _)| address.is_same_server(&route.server));
        let at = known.unwrap_or_else(|| {
            // The loader reports on it by the address that it was given first.
            let address = route.server.to_string();
            servers.push((&route.server, Server { address, device_types: Vec::new(), options: Vec::new() }));
            servers.len() - 1
        });
        servers[at].1.device_types.push(route.device_type.clone());
        servers[at].1.options.push(route.option());
    }
    servers.into_iter().map(|(_, server)| server).collect()
}

/// The server with this address, as messages name it.
pub(crate) fn named(routes: &[Route], address: &str) -> String {
    let server = of(routes).into_iter().find(|server| server.address == address);
    server.map_or_else(|| address.to_owned(), |server| server.to_string())
}

impl Server {
    /// What a run reports about it, if the run has used its servers.
    pub(crate) fn report<'a>(&self, reports: &'a [ServerReport]) -> Option<&'a ServerReport> {
        reports.iter().find(|report| report.address == self.address)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.address, self.options.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_several_device_types_is_one() -> Result<(), String> {
        let routes = ["idfa=h:1", "gaid=h:2", "imei=h:1"].map(str::parse::<Route>);
        let routes = routes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let servers = of(&routes);
        let found: Vec<_> =
            servers.iter().map(|it| (it.address.as_str(), it.device_types.join(","))).collect();
        assert_eq!(found, [("h:1", "idfa,imei".to_owned()), ("h:2", "gaid".to_owned())]);
        assert_eq!(named(&routes, "h:1"), "h:1 (--idfa, --route imei=ADDR)");
        assert_eq!(named(&routes, "elsewhere:1"), "elsewhere:1");

        let report = |address: &str, records| {
            let mut report = ServerReport::default();
            address.clone_into(&mut report.address);
            report.records = records;
            report
        };
        let reports = [report("h:1", 1), report("h:2", 2)];
        assert_eq!(servers[1].report(&reports).map(|it| it.records), Some(2));
        assert_eq!(servers[0].report(&[]), None, "nothing was loaded");
        Ok(())
    }
}
