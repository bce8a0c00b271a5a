//! Generated from `proto/weir`: the only place where lints are relaxed.

/// The public API, package `weir.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        dead_code,
        clippy::all,
        clippy::use_self,
        clippy::clone_on_ref_ptr,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("weir.v1");
}
/// What the records of the ingest log hold. The nesting is that of the package, which the generated
/// paths rely on.
pub(crate) mod log {
    /// Package `weir.log.v1`.
    pub(crate) mod v1 {
        #![allow(
            missing_docs,
            unreachable_pub,
            unused_qualifications,
            dead_code,
            clippy::all,
            clippy::use_self,
            clippy::allow_attributes_without_reason,
            reason = "generated code"
        )]
        tonic::include_proto!("weir.log.v1");
    }
    pub(crate) use v1::*;
}

/// The encoded descriptors, for reflection.
pub(crate) const DESCRIPTORS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/weir_descriptor.bin"));
