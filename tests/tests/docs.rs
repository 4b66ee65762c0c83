//! Checks the documentation: code blocks that show a file are equal to the file, links lead to a page and a
//! heading, every page is in the book, and no text contains a retired word.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

/// The files that a page shows: a path in a line of its own, such as `` `domain/Cargo.toml`: ``, and the code
/// block after it.
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

/// The text of a file as a page shows it: without its unit tests, and with the published version of the
/// constructs instead of the packed file.
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
    let page = fs::read_to_string(root().join("docs/your-own-domain.md")).expect("the tutorial");
    let example = root().join("examples/orders");
    let shown = shown_files(&page);
    for (path, code) in &shown {
        // In the checkout, this file makes the example use the crates of the checkout.
        if *path != ".cargo/config.toml" {
            assert_eq!(*code, as_shown(&example.join(path)), "{path}");
        }
    }
    let paths: Vec<&str> = shown.iter().map(|(path, _)| *path).collect();
    for folder in [
        "domain/src",
        "domain/athena",
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

#[test]
fn the_readme_and_the_architecture_show_the_same_picture() {
    let read = |page| fs::read_to_string(root().join(page)).expect(page);
    let picture = |page: &str| {
        let (_, after) = page.split_once("```\n").expect("a block");
        after.split_once("```").expect("its end").0.to_owned()
    };
    let (readme, architecture) = (read("README.md"), read("docs/ARCHITECTURE.md"));
    assert!(picture(&readme).contains("translator"), "{readme}");
    assert_eq!(picture(&readme), picture(&architecture));
}

/// The pages: every Markdown file below the folder that isn't generated or installed.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    sources(folder, &["md"], found);
}

/// The files with these extensions, without generated and installed ones.
fn sources(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (name, path) = (entry.file_name(), entry.path());
        let is_made = ["target", "node_modules", "dist"]
            .iter()
            .any(|it| name == *it);
        if is_made || name.to_string_lossy().starts_with('.') {
            continue;
        }
        let extension = path.extension().unwrap_or_default();
        if path.is_dir() {
            sources(&path, extensions, found);
        } else if extensions.iter().any(|it| extension == *it) {
            found.push(path);
        }
    }
}

/// The lines of a page that aren't in a code block.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of a page's links.
fn links(page: &str) -> Vec<&str> {
    let links = prose(page).flat_map(|line| line.split("](").skip(1));
    links.filter_map(|link| link.split(')').next()).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> Vec<String> {
    let headings = prose(page).filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

/// The links of a page whose file or heading doesn't exist.
fn broken_links(file: &Path, page: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for link in links(page) {
        if link.contains("://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let folder = file.parent().expect("a file is in a folder");
        let target = if path.is_empty() {
            file.to_owned()
        } else {
            folder.join(path)
        };
        let is_there = target.exists()
            && (anchor.is_empty() || {
                let text = if path.is_empty() {
                    page.to_owned()
                } else {
                    fs::read_to_string(&target).unwrap_or_default()
                };
                anchors(&text).iter().any(|it| it == anchor)
            });
        if !is_there {
            broken.push(format!("{}: {link}", file.display()));
        }
    }
    broken
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut files = Vec::new();
    pages(&root(), &mut files);
    assert!(files.len() > 20, "{files:?}");
    let broken: Vec<String> = files
        .iter()
        .flat_map(|file| broken_links(file, &fs::read_to_string(file).expect("a page")))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_book_has_every_page() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("the summary");
    let mut files = Vec::new();
    pages(&docs, &mut files);
    for file in files {
        let path = file
            .strip_prefix(&docs)
            .expect("a path below docs")
            .to_string_lossy();
        assert!(
            path == "SUMMARY.md" || summary.contains(&format!("]({path})")),
            "{path}"
        );
    }
}

/// The retired words that a text contains, in the order of the list. Words inside longer words don't count.
fn retired_words<'a>(text: &str, words: &'a str) -> Vec<&'a str> {
    let text = text.to_lowercase().replace('\n', " ");
    let is_letter = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '_');
    let is_used = |word: &&str| {
        text.match_indices(*word).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + word.len()..]);
            !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
        })
    };
    words.lines().filter(is_used).collect()
}

/// docs/glossary.md lists the terms to use instead.
#[test]
fn no_file_contains_a_retired_word() {
    let words = include_str!("../retired-words.txt");
    let mut files = Vec::new();
    sources(&root(), &["md", "rs", "ts", "py"], &mut files);
    assert!(files.len() > 200, "{}", files.len());
    let this = root().join("tests/tests/docs.rs");
    let history = root().join("CHANGELOG.md");
    for file in files
        .iter()
        .filter(|file| **file != this && **file != history)
    {
        let text = fs::read_to_string(file).expect("a text");
        let used = retired_words(&text, words);
        assert!(used.is_empty(), "{}: {used:?}", file.display());
    }
}

#[test]
fn retired_words_inside_longer_words_do_not_count() {
    let words = "mend\nanew\n";
    assert_eq!(retired_words("It is made Anew.", words), ["anew"]);
    assert!(retired_words("amend, recommended, renewed", words).is_empty());
}

#[test]
fn a_broken_link_is_found() {
    let file = root().join("README.md");
    let page = "# One\n[a](docs/none.md) [b](#one) [c](#two) [d](https://example.com)\n```\n[e](none)\n```\n";
    let broken = broken_links(&file, page);
    assert_eq!(broken.len(), 2, "{broken:?}");
}
