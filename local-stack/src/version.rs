//! Parses the versions that tools print.

use std::fmt;

/// A version: major, minor, patch. A number that isn't printed is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u32; 3]);

impl Version {
    /// The version `major.minor`.
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self([major, minor, 0])
    }

    /// The first version in `text`: at least two numbers, separated by dots.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.')
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut version = [0; 3];
        let mut parts = word.split('.');
        for (number, part) in version.iter_mut().zip(parts.by_ref()) {
            *number = part.parse().ok()?;
        }
        word.contains('.').then_some(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_in_the_output_of_tools() {
        for (text, version) in [
            ("rustc 1.95.0 (f2d3ce0bd 2026-03-21)", Some([1, 95, 0])),
            ("rustc 1.97.0-nightly", Some([1, 97, 0])),
            ("v20.20.2\n", Some([20, 20, 2])),
            ("11.19.1", Some([11, 19, 1])),
            ("3.11.7.1", Some([3, 11, 7])),
            ("cc (Debian 12.2.0-14+deb12u1) 12.2.0", Some([12, 2, 0])),
            (
                "Apple clang version 16.0.0 (clang-1600.0.26.6)",
                Some([16, 0, 0]),
            ),
            ("1.95", Some([1, 95, 0])),
            ("no version, 7 words.", None),
            ("", None),
        ] {
            assert_eq!(Version::find(text), version.map(Version), "{text}");
        }
    }

    #[test]
    fn compares_by_number_not_by_text() {
        assert!(Version::new(1, 100) > Version::new(1, 95));
        assert!(Version::find("3.9.18") < Some(Version::new(3, 10)));
    }
}
