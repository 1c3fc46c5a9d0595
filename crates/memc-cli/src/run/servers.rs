//! The servers that the routes name: each address once, with the device types that it serves.

use std::fmt;

use memc_core::{Address, ServerReport};

use crate::args::routes::Route;

/// A server with the options that name it. Shown as `127.0.0.1:33013 (--idfa, --gaid server 2 of 3)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// As reports and events name it, without a password.
    pub(crate) address: String,
    /// The device types whose records it holds, in the order of the options.
    pub(crate) device_types: Vec<String>,
    /// The options that name it, one for each device type.
    pub(crate) options: Vec<String>,
    /// For each device type that has a list, the part of its keys that belongs to this server: from 0 to 1.
    pub(crate) shares: Vec<(String, f64)>,
}

/// The servers of the routes, each once, in the order of their first device types.
pub(crate) fn of(routes: &[Route]) -> Vec<Server> {
    let mut servers: Vec<(&Address, Server)> = Vec::new();
    for route in routes {
        for ((of_list, address), share) in route.addresses().enumerate().zip(route.group.shares()) {
            let known = servers.iter().position(|(known, _)| known.is_same_server(address));
            let at = known.unwrap_or_else(|| {
                // The loader reports on it by the address that it was given first.
                servers.push((address, Server::new(address)));
                servers.len() - 1
            });
            let (_, server) = &mut servers[at];
            server.device_types.push(route.device_type.clone());
            server.options.push(route.option_of(of_list));
            if route.is_list() {
                server.shares.push((route.device_type.clone(), share));
            }
        }
    }
    servers.into_iter().map(|(_, server)| server).collect()
}

/// The server with this address, as messages name it.
pub(crate) fn named(routes: &[Route], address: &str) -> String {
    let server = of(routes).into_iter().find(|server| server.address == address);
    server.map_or_else(|| address.to_owned(), |server| server.to_string())
}

impl Server {
    fn new(address: &Address) -> Self {
        let (device_types, options, shares) = Default::default();
        Self { address: address.to_string(), device_types, options, shares }
    }

    /// Its parts of the keys of lists, in words; `None` if it is in no list.
    pub(crate) fn share_text(&self) -> Option<String> {
        let shares: Vec<_> = self
            .shares
            .iter()
            .map(|(device_type, share)| format!("{:.1} % of the {device_type} keys", share * 100.0))
            .collect();
        (!shares.is_empty()).then(|| format!("{} belong to it", shares.join(" and ")))
    }

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
    use memc_core::Distribution;

    use super::*;

    #[test]
    fn a_server_of_several_device_types_is_one() -> Result<(), String> {
        let routes = ["idfa=h:1", "gaid=h:2", "imei=h:1"].map(|it| Route::parse(it, Distribution::Ketama));
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

    #[test]
    fn a_server_of_lists_has_its_share_of_each() -> Result<(), String> {
        let routes =
            ["idfa=h:1,h:2:3", "gaid=h:2", "imei=h:2,h:3"].map(|it| Route::parse(it, Distribution::Crc32));
        let routes = routes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let shown: Vec<_> = of(&routes).iter().map(|it| (it.to_string(), it.share_text())).collect();
        let found = |at: usize| (shown[at].0.as_str(), shown[at].1.as_deref());
        assert_eq!(found(0), ("h:1 (--idfa server 1 of 2)", Some("25.0 % of the idfa keys belong to it")));
        assert_eq!(
            found(1),
            (
                "h:2 (--idfa server 2 of 2, --gaid, --route imei=ADDR server 1 of 2)",
                Some("75.0 % of the idfa keys and 50.0 % of the imei keys belong to it")
            )
        );
        assert_eq!(shown.len(), 3);
        Ok(())
    }
}
