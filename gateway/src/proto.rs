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
