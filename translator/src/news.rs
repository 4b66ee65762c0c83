//! What a batch of stream records tells: rows that may be events, by aggregate, in row order.

use std::collections::BTreeMap;

use millrace_domain::row::{self, is_plainly_a_snapshot};
use millrace_domain::{Attribute, Attributes, Settings, StoredRow, Version};

use millrace_domain::RowError;

/// A row that was inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    /// The stream record's place in the batch.
    pub position: usize,
    /// The row's hash key, as stored.
    pub aggregate: String,
    /// The row.
    pub image: Attributes,
}

/// A row as news: where it stands, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its place; `None` where `Version` can't be read.
    pub version: Option<Version>,
    /// `Version` as stored, for the cursor to name.
    pub stored_version: Option<String>,
    /// What it says, or why it can't be understood.
    pub row: Result<StoredRow, RowError>,
}

/// What a batch tells of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The place of its first record in the batch: where the batch is taken up again if the
    /// aggregate isn't through.
    pub first: usize,
    /// The rows, sorted by version, each once; those whose version can't be read come last.
    pub images: Vec<Image>,
}

impl Image {
    /// Reads a row.
    #[must_use]
    pub fn read(attributes: &Attributes, settings: &Settings) -> Self {
        let stored_version = match attributes.get(row::VERSION) {
            Some(Attribute::Number(number)) => Some(number.clone()),
            Some(_) | None => None,
        };
        Self {
            version: row::version(attributes).ok(),
            stored_version,
            row: StoredRow::read(attributes, settings),
        }
    }
}

/// Groups the rows by aggregate and sorts each group by version. Rows that are plainly snapshots
/// are no news; the mapping's filter keeps most of them away, and this keeps away the rest.
#[must_use]
pub fn by_aggregate(inserted: Vec<Inserted>, settings: &Settings) -> BTreeMap<String, News> {
    let mut news: BTreeMap<String, News> = BTreeMap::new();
    for Inserted {
        position,
        aggregate,
        image,
    } in inserted
    {
        if is_plainly_a_snapshot(&image) {
            continue;
        }
        news.entry(aggregate)
            .or_insert_with(|| News {
                first: position,
                images: Vec::new(),
            })
            .images
            .push(Image::read(&image, settings));
    }
    for News { images, .. } in news.values_mut() {
        images.sort_by_key(|image| (image.version.is_none(), image.version));
        images.dedup_by(|later, earlier| later == earlier);
    }
    news
}
