//! `paycore config certs`: certificates for trying out a cluster with TLS.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gateway::tls::{Role, node_name};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde::Serialize;

use super::invocation::Invocation;
use crate::config::Topology;
use crate::exit::Failure;
use crate::output::{Paint, Show};

/// How long development certificates are good: long enough to forget them, short enough that nobody builds on them.
const GOOD_FOR_DAYS: i32 = 397;

/// Make a development authority, and a certificate for every node and gateway of a topology
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore config certs --out certs --topology cluster-config/dev-3.toml"
)]
pub(super) struct Args {
    /// The directory to write them into; it is made when it is not there, and must hold no certificates yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The cluster's topology file
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,
}

pub(super) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let topology = Topology::load(&args.topology).map_err(|wrong| Failure::of_problems(&wrong))?;
    std::fs::create_dir_all(&args.out).map_err(|why| Failure::io(args.out.display(), &why))?;
    let files = make(&topology, &args.out)?;
    around.screen.show(&Made { directory: args.out.display().to_string(), files })?;
    around.screen.say(format_args!("for development: keep ca.key away from a real cluster"));
    Ok(())
}

/// What was written.
#[derive(Serialize)]
struct Made {
    directory: String,
    files: Vec<String>,
}

impl Show for Made {
    fn text(&self, paint: Paint) -> String {
        format!("{} {}: {}", paint.good("OK"), self.directory, self.files.join(" "))
    }
}

/// Somebody who gets a certificate.
struct Holder {
    /// What its files are called.
    file: String,
    role: Role,
    /// Which node it is, if it is one.
    node: Option<u64>,
    /// The names under which it is dialled.
    hosts: Vec<String>,
}

fn make(topology: &Topology, out: &Path) -> Result<Vec<String>, Failure> {
    let authority = authority(&topology.name).map_err(broken)?;
    let mut files = vec!["ca.pem".to_owned(), "ca.key".to_owned()];
    write(&out.join("ca.pem"), &authority.pem(), 0o644)?;
    write(&out.join("ca.key"), &authority.key().serialize_pem(), 0o600)?;
    for holder in holders(topology) {
        let (certificate, key) =
            certificate(&holder, &topology.name, &authority).map_err(broken)?;
        let (pem, secret) = (format!("{}.pem", holder.file), format!("{}.key", holder.file));
        write(&out.join(&pem), &certificate, 0o644)?;
        write(&out.join(&secret), &key, 0o600)?;
        files.extend([pem, secret]);
    }
    Ok(files)
}

fn holders(topology: &Topology) -> Vec<Holder> {
    let nodes = topology.nodes.iter().map(|node| Holder {
        file: format!("node-{}", node.id),
        role: Role::Node,
        node: Some(node.id),
        hosts: vec![host(&node.grpc)],
    });
    let gateways = topology.gateways.iter().zip(1_usize..).map(|(gateway, number)| Holder {
        file: format!("gateway-{number}"),
        role: Role::Gateway,
        node: None,
        hosts: vec![host(&gateway.grpc)],
    });
    let (role, node) = (Role::Client, None);
    let admin = Holder { file: "admin".to_owned(), role, node, hosts: Vec::new() };
    nodes.chain(gateways).chain([admin]).collect()
}

/// The host of an address; an IPv6 one without its brackets.
fn host(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
    host.trim_matches(['[', ']']).to_owned()
}

fn authority(cluster: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = begun(&format!("paycore {cluster} development authority"), Vec::new())?;
    // No authority below it: what it signs are ends.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate and its key, as PEM.
fn certificate(
    holder: &Holder,
    cluster: &str,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let mut names = holder.hosts.clone();
    names.push(holder.role.name_in(cluster));
    names.extend(holder.node.map(|node| node_name(node, cluster)));
    let mut params = begun(&format!("paycore {cluster} {}", holder.file), names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Nodes and gateways dial and are dialled.
    params.extended_key_usages = match holder.role {
        Role::Node | Role::Gateway => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
        Role::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn begun(name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    // Clocks may differ by less than a day.
    let midnight = |date: Date| {
        let number = |field: i8| u8::try_from(field).expect("months and days are above 0");
        rcgen::date_time_ymd(date.year().into(), number(date.month()), number(date.day()))
    };
    params.not_before = midnight(today.saturating_sub(Span::new().days(1)));
    params.not_after = midnight(today.saturating_add(Span::new().days(GOOD_FOR_DAYS)));
    Ok(params)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn broken(why: rcgen::Error) -> Failure {
    Failure::internal(format!("no certificate could be made: {why}"))
}

/// Writes a new file: what is there is somebody's, and a new authority beside old certificates would be a riddle.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let new = File::options().write(true).create_new(true).mode(mode).open(path);
    new.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|why| Failure::io(path.display(), &why))
}
