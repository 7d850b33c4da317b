//! Wire structures: a borrowed walker for the hot paths, and generated messages for everything else.
//!
//! `proto/*.proto` are the definitions; `generated/` is what `tests/codegen.rs` makes of them (no protoc is needed) and
//! is committed, so that a build needs neither a protobuf compiler nor the network. The test compares both;
//! `NOVASCOPE_REGENERATE=1 cargo test --test codegen` writes them anew.

pub mod wire;

/// Prometheus' remote write 1.0 and remote read.
#[allow(clippy::all, reason = "generated")]
pub mod prometheus {
    include!("generated/prometheus.rs");
}

/// Prometheus' remote write 2.0.
#[allow(clippy::all, reason = "generated")]
pub mod write_v2 {
    include!("generated/io.prometheus.write.v2.rs");
}

/// The protobuf exposition format of scrapes.
#[allow(clippy::all, reason = "generated")]
pub mod exposition {
    include!("generated/io.prometheus.client.rs");
}

/// OTLP. The modules nest as the packages do, because generated code refers to them by relative paths.
#[allow(clippy::all, reason = "generated")]
pub mod opentelemetry {
    pub mod proto {
        pub mod common {
            pub mod v1 {
                include!("generated/opentelemetry.proto.common.v1.rs");
            }
        }
        pub mod resource {
            pub mod v1 {
                include!("generated/opentelemetry.proto.resource.v1.rs");
            }
        }
        pub mod metrics {
            pub mod v1 {
                include!("generated/opentelemetry.proto.metrics.v1.rs");
            }
        }
        pub mod collector {
            pub mod metrics {
                pub mod v1 {
                    include!("generated/opentelemetry.proto.collector.metrics.v1.rs");
                }
            }
        }
    }
}

/// Our own services.
#[allow(clippy::all, reason = "generated")]
pub mod novascope {
    pub mod v1 {
        include!("generated/novascope.v1.rs");
    }
}
