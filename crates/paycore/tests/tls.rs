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
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, date_time_ymd};
use support::{Cluster, until};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
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

/// A certificate of the cluster's authority, or of one that calls itself the same, with these names, until a year; and its key.
fn forge(certs: &Path, authority: &KeyPair, names: &[&str], until_year: i32) -> (String, String) {
    let named = |common: &str, names: Vec<String>| {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        params
    };
    assert!(certs.join("ca.pem").exists());
    let issuer = Issuer::new(named("paycore dev-1 development authority", Vec::new()), authority);
    let mut params = named("forged", names.iter().map(ToString::to_string).collect());
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// One connection, over which HTTP/1.1 is spoken, and the certificate that was shown when it was made.
struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    shown: Vec<u8>,
}

impl Wire {
    /// Connects to whoever has this name and a certificate of this authority.
    fn open(address: &str, name: &str, authority: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        let shown = session.peer_certificates().unwrap()[0].to_vec();
        Self { stream: StreamOwned::new(session, socket), shown }
    }

    /// The status of an answer, after reading all of it.
    fn get(&mut self, path: &str) -> u16 {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: paycore\r\n\r\n").unwrap();
        let mut answer = BufReader::new(&mut self.stream);
        let mut line = || {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            line.trim_end().to_ascii_lowercase()
        };
        let status = line().split(' ').nth(1).unwrap().parse().unwrap();
        let head: Vec<String> =
            std::iter::repeat_with(line).take_while(|l| !l.is_empty()).collect();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        answer.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        status
    }
}

/// Puts a file into another's place, whole.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_gateways_new_certificate_is_shown_to_who_comes_and_old_connections_go_on() {
    let cluster = Cluster::start_tls("dev-1.toml", "optional");
    cluster.leader();
    let certs = cluster.home.path().join("certs");
    let (pem, key) = (certs.join("gateway-1.pem"), certs.join("gateway-1.key"));
    let name = "gateway.dev-1.paycore";
    let wire = || Wire::open(&cluster.http, name, &certs.join("ca.pem"));
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    let first = fs::read_to_string(&pem).unwrap();
    let mut old = wire();
    assert_eq!((old.get("/docs/errors"), &old.shown), (200, &der(&first)));

    let refused = || cluster.log_of("gateway").matches("the certificates cannot be used").count();
    replace(&pem, "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n");
    until("a broken file is said", || (refused() > 0).then_some(()));
    assert_eq!(wire().shown, der(&first), "a broken file changes nothing");
    let authority = KeyPair::from_pem(&fs::read_to_string(certs.join("ca.key")).unwrap()).unwrap();
    let (second, its_key) = forge(&certs, &authority, &[name, "127.0.0.1"], 2100);
    replace(&pem, &second);
    replace(&key, &its_key);
    until("a new connection sees the new certificate", || {
        (wire().shown == der(&second)).then_some(())
    });
    assert_eq!(wire().get("/docs/errors"), 200);
    assert_eq!((old.get("/docs/errors"), &old.shown), (200, &der(&first)));
    // What it shows to nodes is new, too, and they take it.
    cluster.json("account open --currency CNY --opening 1.00 --owner lin");
    let before = refused();
    fs::remove_file(&key).unwrap();
    until("a file that is gone is said", || (refused() > before).then_some(()));
    assert_eq!(wire().shown, der(&second), "a file that is gone changes nothing");
}

#[test]
fn an_authority_is_replaced_while_money_moves() {
    let mut cluster = Cluster::start_tls("dev-3.toml", "optional");
    cluster.leader();
    let open = |cluster: &Cluster, owner: &str| {
        let words = format!("account open --currency CNY --opening 100.00 --owner {owner}");
        cluster.json(&words)["account"].as_str().unwrap().to_owned()
    };
    let pay = format!(
        "transfer {} {} 1.00 --currency CNY",
        open(&cluster, "lin"),
        open(&cluster, "wang")
    );
    cluster.make_certs("other");
    let (certs, other) = (cluster.home.path().join("certs"), cluster.home.path().join("other"));
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let processes: Vec<(String, String)> = [("gateway".to_owned(), "gateway-1".to_owned())]
        .into_iter()
        .chain(cluster.ids().into_iter().map(|id| (format!("n{id}"), format!("node-{id}"))))
        .collect();
    // How often everybody has read good certificates again: once for each of the steps, or more often.
    let heard = |cluster: &Cluster| -> Vec<usize> {
        let count = |(log, _): &(String, String)| {
            cluster.log_of(log).matches("certificates read again").count()
        };
        processes.iter().map(count).collect()
    };
    let all_hear = |cluster: &Cluster, before: &[usize]| {
        until("everybody reads the certificates again", || {
            heard(cluster).iter().zip(before).all(|(now, before)| now > before).then_some(())
        });
        cluster.json(&pay);
    };

    // Everybody trusts both, then shows the new one's certificate, then trusts the new one alone.
    let before = heard(&cluster);
    let (old_ca, new_ca) = (text(&certs.join("ca.pem")), text(&other.join("ca.pem")));
    replace(&certs.join("ca.pem"), &format!("{old_ca}{new_ca}"));
    all_hear(&cluster, &before);
    let before = heard(&cluster);
    for process in processes.iter().map(|(_, file)| file.as_str()).chain(["admin"]) {
        for kind in ["pem", "key"] {
            let file = format!("{process}.{kind}");
            replace(&certs.join(&file), &text(&other.join(&file)));
        }
    }
    cluster.read_certs();
    all_hear(&cluster, &before);
    let before = heard(&cluster);
    replace(&certs.join("ca.pem"), &new_ca);
    all_hear(&cluster, &before);

    // Every lane is made anew, and every door dialled again, by who knows the new authority alone.
    for id in cluster.ids() {
        cluster.kill_node(id);
        cluster.start_node(id);
        cluster.json(&pay);
        cluster.settled();
    }
    for (log, _) in &processes {
        assert!(!cluster.log_of(log).contains("no TLS with the peer"), "{log}: on the way");
    }
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
    let forged = |authority, name, year| {
        let (pem, key) = forge(&certs, authority, &[name], year);
        Some(Identity::from_pem(pem, key))
    };
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
