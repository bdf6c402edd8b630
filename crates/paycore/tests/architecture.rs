//! The crate graph is a test: an edge between crates that ARCHITECTURE.md does not draw fails it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each crate, and the workspace crates it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("ledger", &[]),
    ("group-commit", &[]),
    ("wire", &["ledger"]),
    ("runtime", &[]),
    ("client", &["ledger", "wire"]),
    ("consensus", &["ledger", "runtime", "wire"]),
    ("gateway", &["client", "ledger", "runtime", "wire"]),
    ("shard", &["consensus", "group-commit", "ledger", "wire"]),
    ("sim", &["consensus", "gateway", "ledger", "runtime", "shard", "wire"]),
    ("jepsen-tests", &["client"]),
    ("paycore", &["client", "consensus", "gateway", "ledger", "shard", "wire"]),
];

/// What each of these may never pull in, however indirectly: the ledger does no IO (A1), group commit is a leaf.
const ABSENT: &[(&str, &[&str])] = &[
    ("ledger", &["tokio", "actix", "openraft", "sled", "tonic"]),
    ("group-commit", &["tokio", "ledger"]),
    ("runtime", &["openraft-rt", "openraft-rt-sim"]),
    ("gateway", &["shard", "consensus", "actix", "openraft", "sled"]),
    ("client", &["gateway", "shard", "consensus", "openraft", "sled"]),
];

#[test]
fn crates_depend_in_one_direction() {
    let metadata =
        MetadataCommand::new().exec().expect("cargo metadata runs where cargo test does");
    let members: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    assert_eq!(members, allowed.keys().copied().collect(), "every crate has its line in the table");
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            let counts = members.contains(on) && dependency.kind != DependencyKind::Development;
            assert!(!counts || allowed[name].contains(&on), "{name} must not depend on {on}");
        }
    }
}

#[test]
fn what_must_be_absent_is() {
    let metadata =
        MetadataCommand::new().exec().expect("cargo metadata runs where cargo test does");
    let resolve = metadata.resolve.as_ref().expect("the graph is resolved");
    let name_of: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    for (root, absent) in ABSENT {
        let mut seen = BTreeSet::new();
        let mut next: Vec<_> =
            resolve.nodes.iter().filter(|node| name_of[&node.id] == *root).collect();
        while let Some(node) = next.pop() {
            for dependency in &node.deps {
                let is_normal =
                    dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                if is_normal && seen.insert(&dependency.pkg) {
                    let found = resolve.nodes.iter().find(|node| node.id == dependency.pkg);
                    next.extend(found);
                }
            }
        }
        for name in *absent {
            let found = seen.iter().any(|id| name_of[*id] == *name);
            assert!(!found, "{root} must not pull in {name}");
        }
    }
}
