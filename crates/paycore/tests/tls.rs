//! TLS between real processes: a cluster lives with it as it does without, and no door opens for the wrong certificate.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, date_time_ymd};
use support::{Cluster, until};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{ReadRequest, StatusQuestion};
use wire::proto::v1::GetAccountRequest;
use wire::proto::v1::payments_client::PaymentsClient;
use wire::status::Said;

/// What the log says of everybody who is not let in.
const TURNED_AWAY: &str = "turned a connection away";

#[test]
fn three_processes_live_with_tls_as_without() {
    let mut cluster = Cluster::start_tls("dev-3.toml", "optional");
    cluster.leader();
    let open = |owner: &str| {
        let words = format!("account open --currency CNY --opening 100.00 --owner {owner}");
        cluster.json(&words)["account"].as_str().unwrap().to_owned()
    };
    let (lin, wang) = (open("lin"), open("wang"));
    let pay = format!("transfer {lin} {wang} 1.00 --currency CNY");
    cluster.json(&pay);
    let leader = cluster.leader();
    cluster.kill_node(leader);
    cluster.json(&pay);
    cluster.start_node(leader);
    cluster.settled();
    let balance = cluster.json(&format!("balance {wang}"));
    assert_eq!(balance["available"]["amount"], serde_json::json!(10_200), "{balance}");
    // The operators' doors are behind the same certificates.
    let status = ["cluster", "status", "--topology", "cluster.toml", "-o", "json"];
    let status = cluster.process().args(status).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));

    // A node that comes back with another authority's certificate stays alone, and both sides say why.
    let id = cluster.ids().into_iter().find(|id| *id != cluster.leader()).unwrap();
    cluster.stop_node(id);
    let (certs, other) = (cluster.home.path().join("certs"), cluster.home.path().join("other"));
    cluster.make_certs("other");
    for kind in ["pem", "key"] {
        let name = format!("node-{id}.{kind}");
        fs::rename(certs.join(&name), certs.join(format!("good-{name}"))).unwrap();
        fs::copy(other.join(&name), certs.join(&name)).unwrap();
    }
    cluster.start_node(id);
    let says = |log: &str, parts: [&str; 2]| {
        let log = cluster.log_of(log);
        log.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    };
    let (stranger, other) = (format!("n{id}"), format!("n{}", cluster.leader()));
    until("the stranger hears that nobody trusts it", || says(&stranger, [TURNED_AWAY, "alert"]));
    until("the others say whom they turned away", || says(&other, [TURNED_AWAY, "BadSignature"]));
    until("and whom they do not dial", || says(&other, ["no TLS with the peer", "BadSignature"]));
    cluster.json(&pay);
    cluster.kill_node(id);
    for kind in ["pem", "key"] {
        let name = format!("node-{id}.{kind}");
        fs::rename(certs.join(format!("good-{name}")), certs.join(&name)).unwrap();
    }
    cluster.start_node(id);
    cluster.settled();
}

#[test]
fn a_node_is_turned_away_with_another_nodes_certificate() {
    let mut cluster = Cluster::start_tls("dev-3.toml", "optional");
    cluster.settled();
    let leader = cluster.leader();
    let certs = cluster.home.path().join("certs");
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    let (thief, robbed) = (others.next().unwrap(), others.next().unwrap());
    cluster.stop_node(thief);
    let file = |id: u64, kind: &str| certs.join(format!("node-{id}.{kind}"));
    for kind in ["pem", "key"] {
        fs::rename(file(thief, kind), certs.join(format!("own.{kind}"))).unwrap();
        fs::copy(file(robbed, kind), file(thief, kind)).unwrap();
    }
    cluster.start_node(thief);
    let says = |id: u64, parts: &[&str]| {
        let log = cluster.log_of(&format!("n{id}"));
        log.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    };
    let greets = format!("node {thief} shows a certificate that names node {robbed}");
    let expected = format!("node-{thief}.dev-3.paycore");
    for id in [leader, robbed] {
        until("who listens says whom he turned away", || {
            says(id, &["turned a node away", &greets])
        });
        until("who dials says whom he did not find", || {
            says(id, &["no TLS with the peer", &expected])
        });
    }
    until("the node hears why", || says(thief, &["no TLS with the peer", &greets]));
    // The others live without it.
    let open = |owner: &str| {
        cluster.json(&format!("account open --currency CNY --opening 1.00 --owner {owner}"));
    };
    ["lin", "wang", "zhao"].into_iter().for_each(open);
    let log = |id: u64| cluster.status(id).map(|at| at.last_log_index);
    assert!(log(thief) < log(leader), "it takes no part");
    cluster.kill_node(thief);
    for kind in ["pem", "key"] {
        fs::rename(certs.join(format!("own.{kind}")), file(thief, kind)).unwrap();
    }
    cluster.start_node(thief);
    cluster.settled();
}

/// A certificate of the cluster's authority, or of one that calls itself the same, with a name, until a year.
fn forge(certs: &Path, authority: &KeyPair, name: &str, until_year: i32) -> Identity {
    let named = |common: &str, names: Vec<String>| {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        params
    };
    assert!(certs.join("ca.pem").exists());
    let issuer = Issuer::new(named("paycore dev-1 development authority", Vec::new()), authority);
    let mut params = named("forged", vec![name.to_owned()]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Identity::from_pem(certificate.pem(), key.serialize_pem())
}

#[test]
fn no_door_opens_for_the_wrong_certificate() {
    let cluster = Cluster::start_tls("dev-1.toml", "required");
    cluster.leader();
    let certs = cluster.home.path().join("certs");
    let text = |file: &str| fs::read_to_string(certs.join(file)).unwrap();
    let good =
        |who: &str| Identity::from_pem(text(&format!("{who}.pem")), text(&format!("{who}.key")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let connect = |address: String, identity: Option<Identity>| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(text("ca.pem")));
        let tls = identity.into_iter().fold(tls, ClientTlsConfig::identity);
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    };
    let node = |identity| {
        let mut shard = ShardClient::new(connect(cluster.address(1), identity));
        let question = Some(Question::Status(StatusQuestion {}));
        let asked = ReadRequest { shard: 0, stale_ok: true, timeout_ms: 5_000, question };
        runtime.block_on(shard.read(asked)).is_ok()
    };
    // An answer of the gateway's own, whatever it is, says that the door was passed.
    let gateway = |identity| {
        let mut door = PaymentsClient::new(connect(cluster.endpoint.clone(), identity));
        let asked = GetAccountRequest { name: "none".into(), stale_ok: true };
        let status = runtime.block_on(door.get_account(asked)).unwrap_err();
        matches!(Said::read(&status), Said::Coded { .. })
    };

    for (who, at_node, at_gateway) in
        [("node-1", true, true), ("gateway-1", true, true), ("admin", false, true)]
    {
        assert_eq!(node(Some(good(who))), at_node, "{who}");
        assert_eq!(gateway(Some(good(who))), at_gateway, "{who}");
    }
    let (real, other) = (KeyPair::from_pem(&text("ca.key")).unwrap(), KeyPair::generate().unwrap());
    let forged = |authority, name, year| Some(forge(&certs, authority, name, year));
    let (own, foreign) = ("node.dev-1.paycore", "node.dev-2.paycore");
    assert!(node(forged(&real, own, 2100)), "what is forged well is good");
    for (what, identity, told) in [
        ("expired", forged(&real, own, 2021), "expired"),
        ("of another authority", forged(&other, own, 2100), "BadSignature"),
        ("of another cluster", forged(&real, foreign, 2100), "names"),
        ("none", None, "no certificates"),
    ] {
        for (log, passed) in
            [("n1", node(identity.clone())), ("gateway", gateway(identity.clone()))]
        {
            assert!(!passed, "{what} at {log}");
            until("the log says why", || {
                let log = cluster.log_of(log).to_lowercase();
                let told = told.to_lowercase();
                log.lines()
                    .any(|line| line.contains(TURNED_AWAY) && line.contains(&told))
                    .then_some(())
            });
        }
    }
    // Who dials is as strict: the certificate is for 127.0.0.1.
    let elsewhere = cluster.address(1).replace("127.0.0.1", "localhost");
    let mut shard = ShardClient::new(connect(elsewhere, Some(good("gateway-1"))));
    let question = Some(Question::Status(StatusQuestion {}));
    let asked = ReadRequest { shard: 0, stale_ok: true, timeout_ms: 5_000, question };
    let refused = runtime.block_on(shard.read(asked)).unwrap_err();
    assert!(format!("{refused:?}").contains("NotValidForName"), "{refused:?}");

    for file in ["ca.key", "node-1.key", "gateway-1.key", "admin.key"] {
        let mode = fs::metadata(certs.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
