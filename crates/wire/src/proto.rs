//! The protobuf packages, as generated.

/// The public package.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated"
    )]
    tonic::include_proto!("paycore.v1");
}

/// What travels inside a cluster.
pub mod cluster {
    #![allow(missing_docs, unreachable_pub, reason = "generated")]
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated"
    )]
    tonic::include_proto!("paycore.cluster.v1");
}

/// The public package's descriptors with their comments, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.bin"));

/// The cluster package's descriptors.
pub const CLUSTER_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cluster.bin"));
