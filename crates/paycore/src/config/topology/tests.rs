use std::path::{Path, PathBuf};

use super::*;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cluster-config").join(name)
}

fn read(text: &str) -> Result<Topology, String> {
    Topology::read(Path::new("t.toml"), text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

const GOOD: &str = r#"
name = "t"
shards = 1
[[nodes]]
id = 1
grpc = "127.0.0.1:7101"
[[gateways]]
grpc = "127.0.0.1:7100"
"#;

#[test]
fn every_shipped_topology_loads() {
    for (name, nodes, gateways) in [("dev-1", 1, 1), ("dev-3", 3, 1), ("prod-5", 5, 3)] {
        let topology = Topology::load(&shipped(&format!("{name}.toml"))).unwrap();
        assert_eq!(topology.name, name);
        assert_eq!((topology.nodes.len(), topology.gateways.len()), (nodes, gateways), "{name}");
        assert_eq!(topology.shards().count(), 1);
        assert_eq!(topology.store.kind, StoreKind::Sled);
        assert_eq!(topology.peers().len(), nodes);
        assert!(topology.gateways.iter().all(|gateway| gateway.http.is_some()), "{name}");
        assert_eq!(topology.spare_nodes(), (nodes - 1) / 2);
        assert_eq!(topology.node(1).map(|node| node.id), Some(1));
        assert_eq!(topology.node(99), None);
    }
    let shipped = std::fs::read_dir(shipped("")).unwrap().count();
    assert_eq!(shipped, 3, "a topology that no test loads");
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_key_that_was_meant() {
    let text = GOOD.replace("shards = 1", "shards = 1\n[consensus]\nheartbeet_ms = 100\n");
    assert_eq!(
        read(&text).unwrap_err(),
        "t.toml:5: unknown key `consensus.heartbeet_ms`; did you mean `heartbeat_ms`?"
    );
    assert_eq!(
        read(&GOOD.replace("shards = 1", "shard = 1")).unwrap_err(),
        "t.toml:3: unknown key `shard`; did you mean `shards`?"
    );
    assert_eq!(
        read(&GOOD.replace("id = 1", "id = 1\nweb = \"127.0.0.1:7201\"")).unwrap_err(),
        "t.toml:6: unknown key `nodes.0.web`; keys here: id, grpc, admin"
    );
    let text = format!("{GOOD}\n[store]\nkind = \"sleds\"\n");
    assert_eq!(
        read(&text).unwrap_err(),
        "t.toml:11: `store.kind` is `sleds`; did you mean `sled`?"
    );
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let wrong = read("name = \"t\"\nshards == 1\n").unwrap_err();
    assert!(wrong.starts_with("t.toml:2: "), "{wrong}");
    assert_eq!(read("name = \"t\"").unwrap_err(), "t.toml: `shards` is missing");
    let wrong = read(&GOOD.replace("shards = 1", "shards = \"one\"")).unwrap_err();
    assert_eq!(wrong, "t.toml:3: `shards`: invalid type: found string \"one\", expected u16");
}

#[test]
fn what_cannot_work_is_refused_all_at_once() {
    let text = GOOD
        .replace("\"t\"", "\"T!\"")
        .replace("shards = 1", "shards = 65")
        .replace("id = 1", "id = 0")
        .replace("127.0.0.1:7100", "127.0.0.1");
    assert_eq!(
        read(&text).unwrap_err(),
        "t.toml: `name` is `T!`; a name has 1 to 63 small letters, digits and hyphens\n\
         t.toml: `shards` is 65; a cluster has 1 to 64\n\
         t.toml: node 0: nodes are counted from 1\n\
         t.toml: gateway 1's `grpc` is `127.0.0.1`; an address reads host:port"
    );
    let twice = GOOD.replace("[[gateways]]", "[[nodes]]\nid = 1\ngrpc = \"a:1\"\n[[gateways]]");
    assert_eq!(read(&twice).unwrap_err(), "t.toml: node 1 is there twice");
    let taken = GOOD.replace("7100", "7101");
    assert_eq!(
        read(&taken).unwrap_err(),
        "t.toml: gateway 1's `grpc` is `127.0.0.1:7101`, which something else has"
    );
    let admin = GOOD.replace("7100\"", "7100\"\nadmin = \"127.0.0.1:7101\"");
    assert_eq!(
        read(&admin).unwrap_err(),
        "t.toml: gateway 1's `admin` is `127.0.0.1:7101`, which something else has"
    );
    let nowhere = GOOD.replace("7101\"", "7101\"\nadmin = \"7400\"");
    assert_eq!(
        read(&nowhere).unwrap_err(),
        "t.toml: node 1's `admin` is `7400`; an address reads host:port"
    );
    let http = |address: &str| format!("{GOOD}http = \"{address}\"\n");
    assert_eq!(
        read(&http("127.0.0.1:7100")).unwrap_err(),
        "t.toml: gateway 1's `http` is `127.0.0.1:7100`, which something else has"
    );
    assert_eq!(
        read(&http("7200")).unwrap_err(),
        "t.toml: gateway 1's `http` is `7200`; an address reads host:port"
    );
    for (consensus, part) in [
        ("heartbeat_ms = 0", "three heartbeats"),
        ("heartbeat_ms = 201", "three heartbeats"),
        ("election_max_ms = 2100", "three heartbeats"),
        ("election_max_ms = 1600", "without a spread"),
    ] {
        let wrong = read(&format!("{GOOD}\n[consensus]\n{consensus}\n")).unwrap_err();
        assert!(wrong.contains(part), "{wrong}");
    }
}

#[test]
fn a_shard_has_three_replicas_unless_the_file_says_otherwise() {
    let five = (2..=5).fold(GOOD.to_owned(), |text, id| {
        text + &format!("\n[[nodes]]\nid = {id}\ngrpc = \"host-{id}:7100\"\n")
    });
    let replication = |text: &str| read(text).map(|read| (read.replication(), read.spare_nodes()));
    assert_eq!(replication(GOOD), Ok((1, 0)), "as far as there are nodes");
    assert_eq!(replication(&five), Ok((3, 1)));
    let all = five.replace("shards = 1", "shards = 1\nreplicas = 5");
    assert_eq!(replication(&all), Ok((5, 2)));
    let none = GOOD.replace("shards = 1", "shards = 1\nreplicas = 0");
    assert_eq!(read(&none).unwrap_err(), "t.toml: `replicas` is 0; a shard has 1 to 9");
}
