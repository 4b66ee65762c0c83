//! Firehose's conversion of lines to Parquet.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_firehose::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_firehose::types::{
    DataFormatConversionConfiguration, Deserializer, ExtendedS3DestinationConfiguration,
    InputFormatConfiguration, OpenXJsonSerDe, OutputFormatConfiguration, ParquetSerDe, Record,
    SchemaConfiguration, Serializer,
};
use aws_sdk_firehose::{Client, Config};
use millrace_local_stack::stack::{CREDENTIAL, Local};
use serde_json::Value;

use crate::pipeline::{Pipeline, wait};
use crate::queries::ask;
use crate::verify;

/// The table, the delivery stream and the folder of this scenario. A setting of the CDK app chooses between
/// Parquet and lines for the lake itself.
const NAME: &str = "parquet_of_a_test";
const ROLE: &str = "arn:aws:iam::000000000000:role/any";

/// Each column has the same values in both formats.
pub(crate) async fn athena_reads_the_same_from_parquet(pipeline: &Pipeline) -> Result<()> {
    let id = pipeline.open().await?;
    pipeline.accepted(&id, "credit", 900).await?;
    pipeline.accepted(&id, "withdraw", 1).await?;
    verify::has_exactly(pipeline, &id, 3).await?;

    let (_, contract) = millrace_contract::documents::<millrace_domain::Accounts>()?
        .into_iter()
        .find(|(path, _)| path == "contracts/lake.json")
        .context("the contract describes the lake")?;
    let contract: Value = serde_json::from_str(&contract)?;
    let columns = described(&contract["columns"])?;
    create_table(pipeline, &columns).await?;

    let client = client(&pipeline.local);
    // Boxed, because the SDK's future is large.
    Box::pin(create_stream(&client, &pipeline.local)).await?;
    // One record with several lines, as the archiver packs them.
    let mut lines = Vec::new();
    for record in pipeline.journal.records_of(&id, 3).await? {
        lines.extend(record.bytes);
        lines.push(b'\n');
    }
    let record = Record::builder().data(lines.into()).build()?;
    client
        .put_record()
        .delivery_stream_name(NAME)
        .record(record)
        .send()
        .await?;

    let fields = described(&contract["data"])?;
    let fields = fields.iter().map(|(name, _)| format!("data.{name}"));
    let names = columns.iter().filter(|(name, _)| *name != "data");
    let names: Vec<_> = names
        .map(|(name, _)| (*name).to_owned())
        .chain(fields)
        .collect();
    let query = |table: &str| {
        format!(
            "SELECT DISTINCT {} FROM {table} WHERE subject = '{id}' ORDER BY data.sequence",
            names.join(", ")
        )
    };
    let of_parquet = wait("the events in Parquet", async || {
        let rows = ask(pipeline, &query(NAME)).await?;
        Ok((!rows.is_empty()).then_some(rows))
    })
    .await?;
    let of_lines = ask(pipeline, &query(&pipeline.local.glue_table)).await?;
    ensure!(
        of_parquet.len() == 3 && of_parquet == of_lines,
        "Parquet has {of_parquet:?}, but the lines have {of_lines:?}"
    );
    Ok(())
}

/// The names and types of columns or fields.
fn described(list: &Value) -> Result<Vec<(&str, &str)>> {
    let list = list.as_array().context("a list of columns")?;
    let pairs = list
        .iter()
        .map(|column| Some((column["name"].as_str()?, column["type"].as_str()?)));
    pairs.collect::<Option<_>>().context("names and types")
}

async fn create_table(pipeline: &Pipeline, columns: &[(&str, &str)]) -> Result<()> {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    let sql = format!(
        "CREATE EXTERNAL TABLE {NAME} ({}) PARTITIONED BY (dt string) STORED AS PARQUET LOCATION 's3://{}/{NAME}/'",
        columns.join(", "),
        pipeline.local.lake_bucket
    );
    ask(pipeline, &sql).await?;
    Ok(())
}

fn client(local: &Local) -> Client {
    let credentials = Credentials::new(CREDENTIAL, CREDENTIAL, None, None, "local stack");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(local.region.clone()))
        .endpoint_url(&local.endpoint_url)
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

async fn create_stream(client: &Client, local: &Local) -> Result<()> {
    let schema = SchemaConfiguration::builder()
        .role_arn(ROLE)
        .region(&local.region)
        .database_name(&local.glue_database)
        .table_name(NAME);
    let deserializer =
        Deserializer::builder().open_x_json_ser_de(OpenXJsonSerDe::builder().build());
    let serializer = Serializer::builder().parquet_ser_de(ParquetSerDe::builder().build());
    let conversion = DataFormatConversionConfiguration::builder()
        .enabled(true)
        .schema_configuration(schema.build())
        .input_format_configuration(
            InputFormatConfiguration::builder()
                .deserializer(deserializer.build())
                .build(),
        )
        .output_format_configuration(
            OutputFormatConfiguration::builder()
                .serializer(serializer.build())
                .build(),
        );
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn(ROLE)
        .bucket_arn(format!("arn:aws:s3:::{}", local.lake_bucket))
        .prefix(format!("{NAME}/dt=!{{timestamp:yyyy-MM-dd}}/"))
        .error_output_prefix(format!("{NAME}-errors/"))
        .data_format_conversion_configuration(conversion.build());
    let creation = client
        .create_delivery_stream()
        .delivery_stream_name(NAME)
        .extended_s3_destination_configuration(destination.build()?);
    Box::pin(creation.send()).await?;
    Ok(())
}
