//! The tables as the CDK app creates them.

use anyhow::{Context as _, Result, ensure};

use crate::pipeline::Pipeline;

const ROLE_TAG: &str = "millrace:role";

/// The operators' commands check the tag before they write to a table.
pub(crate) async fn a_tag_on_each_table_contains_its_role(pipeline: &Pipeline) -> Result<()> {
    let (client, local) = (&pipeline.clients.dynamodb, &pipeline.local);
    for (table, role) in [
        (&local.events_table, "events"),
        (&local.idempotency_table, "idempotency"),
        (&local.cursor_table, "cursors"),
        (&local.view_table, "views"),
        (&local.history_table, "history"),
    ] {
        let described = client.describe_table().table_name(table).send().await?;
        let arn = described.table.and_then(|table| table.table_arn);
        let arn = arn.with_context(|| format!("{table} has no ARN"))?;
        let tags = client.list_tags_of_resource().resource_arn(arn);
        let tags = tags.send().await?.tags.unwrap_or_default();
        ensure!(
            tags.iter()
                .any(|tag| (tag.key(), tag.value()) == (ROLE_TAG, role)),
            "expected {ROLE_TAG} {role} on {table}, but it has {tags:?}"
        );
    }
    Ok(())
}
