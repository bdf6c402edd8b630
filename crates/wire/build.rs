//! Compiles the protobuf without `protoc`, and makes the catalogue's table.

use std::path::PathBuf;
use std::{env, fs};

#[path = "build/catalogue.rs"]
mod catalogue;

/// The public package, which reflection shows, and what travels inside the cluster, which it does not.
const PACKAGES: [(&[&str], &str); 2] = [
    (
        &["paycore/v1/payments.proto", "paycore/v1/admin.proto", "paycore/v1/directory.proto"],
        "public.bin",
    ),
    (&["paycore/cluster/v1/shard.proto", "paycore/cluster/v1/cluster.proto"], "cluster.bin"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=catalogue.toml");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    for (roots, descriptors) in PACKAGES {
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_imports(true).include_source_info(true).open_files(roots)?;
        fs::write(out.join(descriptors), compiler.encode_file_descriptor_set())?;
        // Inside the cluster, records and answers stay where the socket put them.
        tonic_prost_build::configure()
            .bytes(".paycore.cluster.v1")
            .compile_fds(compiler.file_descriptor_set())?;
    }

    fs::write(
        out.join("catalogue_table.rs"),
        catalogue::table(&fs::read_to_string("catalogue.toml")?)?,
    )?;
    Ok(())
}
