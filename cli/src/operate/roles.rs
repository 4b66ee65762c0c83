//! Checks that the tables of a deployment file have the roles that the file assigns to them. Before a command
//! writes, it checks every table that it writes to or folds from: if the file named the cursor table as the
//! view table, `rebuild` would replace every cursor with a view.

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{KeySchemaElement, KeyType};
use millrace_core::{Project, row, view};

use super::deployment::Deployment;

/// The tag that the CDK app sets on each table.
const TAG: &str = "millrace:role";

/// The role of a table: the value of its tag [`TAG`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Role {
    /// The events table.
    Events,
    /// The publication cursors.
    Cursors,
    /// The views.
    Views,
    /// The histories.
    History,
}

impl Role {
    /// The hash key, and the range key if the table has one.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Events => &[row::ID, row::VERSION],
            Self::Cursors | Self::Views => &[view::ID],
            Self::History => &[view::ID, view::SEQUENCE],
        }
    }

    const fn table<D: Project + Clone>(self, deployment: &Deployment<D>) -> &String {
        let names = &deployment.names;
        match self {
            Self::Events => &names.events_table,
            Self::Cursors => &names.cursor_table,
            Self::Views => &names.view_table,
            Self::History => &names.history_table,
        }
    }
}

/// Checks that the table of each of these roles has the role's key schema and tag.
///
/// # Errors
/// If a table hasn't, or can't be described. The error names the first such table.
pub(crate) async fn check<D: Project + Clone>(
    deployment: &Deployment<D>,
    roles: &[Role],
) -> Result<()> {
    for role in roles {
        let table = role.table(deployment);
        check_to_read(deployment, *role).await.with_context(|| {
            format!(
                "nothing was written: the deployment file {} names {table} as the table of role `{role}`",
                deployment.file.display()
            )
        })?;
    }
    Ok(())
}

/// Checks that the table of this role has the role's key schema and tag, before it is read.
///
/// # Errors
/// If it hasn't, or can't be described.
pub(crate) async fn check_to_read<D: Project + Clone>(
    deployment: &Deployment<D>,
    role: Role,
) -> Result<()> {
    check_one(&deployment.clients.dynamodb, role.table(deployment), role).await
}

async fn check_one(client: &Client, table: &str, role: Role) -> Result<()> {
    let described = client
        .describe_table()
        .table_name(table)
        .send()
        .await
        .with_context(|| format!("could not describe {table}"))?
        .table
        .with_context(|| format!("{table} has no description"))?;
    let mut schema = described.key_schema.unwrap_or_default();
    schema.sort_by_key(|key| key.key_type != KeyType::Hash);
    let keys: Vec<&str> = schema
        .iter()
        .map(KeySchemaElement::attribute_name)
        .collect();
    ensure!(
        keys == role.keys(),
        "the table's keys are {keys:?}, but a table of that role has {:?}",
        role.keys()
    );
    let arn = described.table_arn.context("the table has no ARN")?;
    let mut next = None;
    loop {
        let answer = client
            .list_tags_of_resource()
            .resource_arn(&arn)
            .set_next_token(next)
            .send()
            .await
            .with_context(|| format!("could not list the tags of {table}"))?;
        let mut tags = answer.tags.unwrap_or_default().into_iter();
        if let Some(tag) = tags.find(|tag| tag.key() == TAG) {
            ensure!(
                tag.value() == role.to_string(),
                "the table's tag {TAG} is `{}`",
                tag.value()
            );
            return Ok(());
        }
        next = answer.next_token;
        if next.is_none() {
            bail!(
                "the table has no tag {TAG}; deploy this version of the stack, which sets the tag"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;
    use aws_sdk_dynamodb::operation::list_tags_of_resource::ListTagsOfResourceOutput;
    use aws_sdk_dynamodb::types::{TableDescription, Tag};
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    use super::*;

    async fn checked(keys: &[&str], tags: &[(&str, &str)], role: Role) -> Result<(), String> {
        let schema = keys.iter().rev().enumerate().map(|(index, name)| {
            let is_hash = index + 1 == keys.len();
            let of = if is_hash {
                KeyType::Hash
            } else {
                KeyType::Range
            };
            let key = KeySchemaElement::builder()
                .attribute_name(*name)
                .key_type(of);
            key.build().expect("complete")
        });
        let table = TableDescription::builder()
            .table_arn("arn")
            .set_key_schema(Some(schema.collect()))
            .build();
        let tags: Vec<Tag> = tags
            .iter()
            .map(|(key, value)| {
                Tag::builder()
                    .key(*key)
                    .value(*value)
                    .build()
                    .expect("complete")
            })
            .collect();
        let describe = mock!(Client::describe_table)
            .then_output(move || DescribeTableOutput::builder().table(table.clone()).build());
        let first = mock!(Client::list_tags_of_resource)
            .match_requests(|request| request.next_token().is_none())
            .then_output(|| {
                ListTagsOfResourceOutput::builder()
                    .next_token("next")
                    .build()
            });
        let rest = mock!(Client::list_tags_of_resource)
            .match_requests(|request| request.next_token() == Some("next"))
            .then_output(move || {
                ListTagsOfResourceOutput::builder()
                    .set_tags(Some(tags.clone()))
                    .build()
            });
        let client = mock_client!(
            aws_sdk_dynamodb,
            RuleMode::MatchAny,
            [&describe, &first, &rest]
        );
        let checked = check_one(&client, "t", role).await;
        checked.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn a_table_of_another_role_is_refused() {
        let views = [("x", "y"), (TAG, "views")];
        assert_eq!(checked(&["Id"], &views, Role::Views).await, Ok(()));
        let history = [(TAG, "history")];
        let keys = ["Id", "Sequence"];
        assert_eq!(checked(&keys, &history, Role::History).await, Ok(()));
        let cursors = [(TAG, "cursors")];
        assert_eq!(checked(&["Id"], &cursors, Role::Cursors).await, Ok(()));
        let events = [(TAG, "events")];
        let keys = ["Id", "Version"];
        assert_eq!(checked(&keys, &events, Role::Events).await, Ok(()));
        for (keys, tags, role, message) in [
            (
                &["Id"][..],
                &[(TAG, "cursors")][..],
                Role::Views,
                "`cursors`",
            ),
            (&["Id"], &[("x", "y")], Role::Cursors, "no tag"),
            (
                &["Id", "Version"],
                &[(TAG, "history")],
                Role::History,
                "Version",
            ),
            (&["Id"], &[(TAG, "events")], Role::Events, "table's keys"),
            (
                &["Version", "Id"],
                &[(TAG, "events")],
                Role::Events,
                "table's keys",
            ),
        ] {
            let error = checked(keys, tags, role).await.expect_err("refused");
            assert!(error.contains(message), "{error}");
        }
    }
}
