//! What the clients themselves answered when asked for the server of a key.

use crate::route::distribution::Distribution::{
    self, Crc32, Crc32Ieee, Crc32Nonzero, Ketama, KetamaPlain, OneAtATime, Rendezvous,
};
use crate::route::group::Group;
use crate::route::server::GroupServer;

const EQUAL: &[&str] = &["10.0.0.1:33013", "10.0.0.2:33014", "10.0.0.3:33015"];
const WEIGHTED: &[&str] = &["10.0.0.1:33013", "10.0.0.2:33014:2", "10.0.0.3:33015:4"];
const DEFAULT_PORT: &[&str] = &["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:33015"];
const MIXED: &[&str] = &["localhost:33013", "[::1]:33014", "unix:/run/m.sock"];
/// php-memcached 3.2.0 had hosts of these names at port 11211.
const NAMED: &[&str] = &["10.0.0.1:33013 alpha", "10.0.0.2:33014:2 beta", "10.0.0.3:33015:4 gamma"];
/// php-memcached calls a socket by its path.
const MIXED_PHP: &[&str] = &["localhost:33013", "[::1]:33014", "unix:/run/m.sock /run/m.sock"];

/// For each of the [`keys`] the index of the server.
const ANSWERS: &[(Distribution, &[&str], &str)] = &[
    // `getServerByKey` of php-memcached 3.2.0 with libmemcached 1.1.4, with OPT_LIBKETAMA_COMPATIBLE,
    (Ketama, EQUAL, "0101201010210001122012201121101221211122"),
    (Ketama, WEIGHTED, "0121221212212221122212201122111221212222"),
    (Ketama, DEFAULT_PORT, "1222222020211210001102010121110112200120"),
    (Ketama, NAMED, "1202221121201021222112212211222220211221"),
    (Ketama, MIXED_PHP, "1001120202101000222221022121000012112111"),
    // with DISTRIBUTION_CONSISTENT,
    (KetamaPlain, EQUAL, "0100210102101102100111111211211221222210"),
    (KetamaPlain, WEIGHTED, "2221202121122212221221212211212221122121"),
    (KetamaPlain, DEFAULT_PORT, "1212200111221022220101110101210222222011"),
    (KetamaPlain, NAMED, "1112222221221222122222110202221222112222"),
    (KetamaPlain, MIXED_PHP, "1112220020210101100020112202221002022010"),
    // and without options.
    (OneAtATime, EQUAL, "0221002021201122111111112200100210000000"),
    (OneAtATime, MIXED, "0221002021201122111111112200100210000000"),
    // `memcached_generate_hash` of libmemcached 1.1.4, with MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED and _KETAMA.
    (Ketama, MIXED, "1201110102101020121222022122000210212111"),
    (KetamaPlain, MIXED, "2120220020110221100000112202211001220010"),
    // `_get_server` of python-memcached 1.62.
    (Crc32, EQUAL, "0111100201202012110201200122012011202012"),
    (Crc32, WEIGHTED, "2221222220201222002020220201122222222211"),
    // `PickServer` of gomemcache; for the weights, servers were listed again.
    (Crc32Ieee, EQUAL, "1000121111021122201210111001120011121210"),
    (Crc32Ieee, WEIGHTED, "2121211021201211222012222221222121110120"),
    // `hasher.get_node` of pymemcache 4.0.0.
    (Rendezvous, EQUAL, "2102111200021011111120120201220000001012"),
    (Rendezvous, DEFAULT_PORT, "2102100211202201000022020010220211010100"),
    (Rendezvous, MIXED, "2220021122000201101211222102112012011120"),
];

fn keys() -> Vec<String> {
    let ids = (0..36).map(|at: u8| format!("idfa:{:x}", md5::compute(at.to_string())));
    ids.chain((0..4).map(|at| format!("gaid:ключ-é-{at}"))).collect()
}

fn group(servers: &[&str], distribution: Distribution) -> Group {
    let servers = servers.iter().map(|text| text.parse::<GroupServer>().expect("a sound server"));
    Group::new(servers, distribution).expect("a sound group")
}

#[test]
fn every_distribution_agrees_with_its_client() {
    for &(distribution, servers, expected) in ANSWERS {
        let group = group(servers, distribution);
        let found: String = keys().iter().map(|key| group.server(key.as_bytes()).to_string()).collect();
        assert_eq!(found, expected, "{distribution} of {servers:?}");
    }
}

/// 1.59 hashed no key to 0; 1.60 does.
#[test]
fn the_two_ages_of_python_memcached_differ_in_a_hash_of_0() {
    for key in [b"idfa:00000000000000000000000000001946", b"idfa:000000000000000000000000000083cd"] {
        assert_eq!(group(EQUAL, Crc32).server(key), 0);
        assert_eq!(group(EQUAL, Crc32Nonzero).server(key), 1);
    }
    for key in keys() {
        let key = key.as_bytes();
        assert_eq!(group(EQUAL, Crc32).server(key), group(EQUAL, Crc32Nonzero).server(key));
    }
}
