//! Code blocks of the documentation that show a file have to be equal to that file.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

/// The files that a page shows: each path in a line of its own, such as `` `domain/Cargo.toml`: ``, with the
/// block of code that follows.
fn shown_files(page: &str) -> Vec<(&str, String)> {
    let (mut found, mut lines) = (Vec::new(), page.lines());
    while let Some(line) = lines.next() {
        let path = line.strip_prefix('`').and_then(|it| it.strip_suffix("`:"));
        let Some(path) = path else { continue };
        assert_eq!(lines.next(), Some(""), "{path}");
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "{path}: no code follows");
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push((path, code.join("\n")));
    }
    found
}

/// A file without its unit tests, which a page doesn't show, and with the version that is published.
fn as_shown(file: &Path) -> String {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    let published = code.replace(
        "file:../../../target/packed/millrace-infra-0.1.0.tgz",
        "0.1.0",
    );
    published.trim_end().to_owned()
}

#[test]
fn the_tutorial_shows_the_files_of_the_example() {
    let page = fs::read_to_string(root().join("docs/your-own-domain.md")).expect("there");
    let example = root().join("examples/orders");
    let shown = shown_files(&page);
    for (path, code) in &shown {
        // In the checkout, this file has other crates to build from.
        if *path != ".cargo/config.toml" {
            assert_eq!(*code, as_shown(&example.join(path)), "{path}");
        }
    }
    let paths: Vec<&str> = shown.iter().map(|(path, _)| *path).collect();
    for folder in [
        "domain/src",
        "app/src",
        "app/src/bin",
        "infra/bin",
        "infra/domain",
    ] {
        for entry in fs::read_dir(example.join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_file() {
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                assert!(paths.contains(&&*path), "{path} isn't shown");
            }
        }
    }
}
