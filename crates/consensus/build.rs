//! Compiles the protocol between nodes, without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/peer.proto"], ["proto"])?;
    // `Bytes` fields share the buffer that the socket filled.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
