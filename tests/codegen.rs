//! The committed code in `src/proto/generated` is what the definitions in `proto/` give.

use std::path::{Path, PathBuf};

const FILES: [&str; 8] = [
    "prometheus.proto",
    "write_v2.proto",
    "exposition.proto",
    "opentelemetry/common.proto",
    "opentelemetry/resource.proto",
    "opentelemetry/metrics.proto",
    "opentelemetry/metrics_service.proto",
    "novascope/alerts.proto",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn generate(into: &Path) {
    let files = protox::compile(FILES, [root().join("proto")]).expect("the definitions compile");
    let mut config = prost_build::Config::new();
    // Services are served by hand over bytes (the walker decodes), so only messages are generated.
    config.out_dir(into).compile_fds(files).expect("code is generated");
}

#[test]
fn generated_code_is_current() {
    let committed = root().join("src/proto/generated");
    if std::env::var_os("NOVASCOPE_REGENERATE").is_some() {
        std::fs::create_dir_all(&committed).unwrap();
        generate(&committed);
        return;
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let names = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&committed), names(fresh.path()), "files in src/proto/generated");
    for name in names(fresh.path()) {
        let (new, old) =
            (std::fs::read(fresh.path().join(&name)).unwrap(), std::fs::read(committed.join(&name)).unwrap());
        assert!(
            new == old,
            "{} is not what proto/ gives: run NOVASCOPE_REGENERATE=1 cargo test --test codegen",
            name.display()
        );
    }
}
