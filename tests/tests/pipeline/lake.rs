//! A reader of the lake's objects.

use std::collections::HashSet;

use anyhow::Result;
use aws_sdk_s3::Client;
use millrace_cli::clients::Clients;
use millrace_local_stack::stack::Local;
use tokio::sync::Mutex;

use crate::pipeline::wait;

/// The prefix of the events' objects.
const PREFIX: &str = "events/dt=";

/// The lake, with the objects and lines that were read so far.
pub(crate) struct Lake {
    client: Client,
    bucket: String,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    keys: HashSet<String>,
    lines: HashSet<Vec<u8>>,
}

impl Lake {
    pub(crate) fn of(clients: &Clients, local: &Local) -> Self {
        Self {
            client: clients.s3.clone(),
            bucket: local.lake_bucket.clone(),
            read: Mutex::default(),
        }
    }

    /// Waits until the lake contains each of these lines.
    pub(crate) async fn holds(&self, lines: &[Vec<u8>]) -> Result<()> {
        wait("every line in the lake", async || {
            let mut read = self.read.lock().await;
            if lines.iter().all(|line| read.lines.contains(line)) {
                return Ok(Some(()));
            }
            self.read_more(&mut read).await?;
            Ok(None)
        })
        .await
    }

    async fn read_more(&self, read: &mut Read) -> Result<()> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(PREFIX)
            .into_paginator()
            .send();
        while let Some(page) = pages.try_next().await? {
            let keys = page.contents.unwrap_or_default().into_iter();
            for key in keys.filter_map(|object| object.key) {
                if read.keys.contains(&key) {
                    continue;
                }
                let object = self
                    .client
                    .get_object()
                    .bucket(&self.bucket)
                    .key(&key)
                    .send()
                    .await?;
                let content = object.body.collect().await?.into_bytes();
                read.lines
                    .extend(content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
                read.keys.insert(key);
            }
        }
        Ok(())
    }
}
