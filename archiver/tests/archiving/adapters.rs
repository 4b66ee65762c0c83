//! The delivery stream's adapter with mocked responses.

use aws_sdk_firehose::Client;
use aws_sdk_firehose::operation::put_record_batch::{PutRecordBatchError, PutRecordBatchOutput};
use aws_sdk_firehose::types::PutRecordBatchResponseEntry;
use aws_sdk_firehose::types::error::ServiceUnavailableException;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_archiver::adapters::firehose::DeliveryStream;
use millrace_archiver::ports::{Delivery as _, Packed};

fn records() -> Vec<Packed> {
    (0..3)
        .map(|first| Packed {
            first,
            data: format!("line {first}\n").into_bytes(),
        })
        .collect()
}

#[tokio::test]
async fn each_entrys_own_answer_counts_and_not_the_status() {
    let put = mock!(Client::put_record_batch)
        .match_requests(|request| {
            request.delivery_stream_name() == Some("lake")
                && request.records()[1].data().as_ref() == b"line 1\n"
        })
        .then_output(|| {
            let taken = PutRecordBatchResponseEntry::builder()
                .record_id("1")
                .build();
            let throttled = PutRecordBatchResponseEntry::builder()
                .error_code("ServiceUnavailableException")
                .build();
            let neither = PutRecordBatchResponseEntry::builder().build();
            PutRecordBatchOutput::builder()
                .failed_put_count(2)
                .request_responses(taken)
                .request_responses(throttled)
                .request_responses(neither)
                .build()
                .expect("complete")
        });
    let client = mock_client!(aws_sdk_firehose, [&put]);
    let stream = DeliveryStream::new(client, "lake".to_owned());
    let entries = stream.put(&records()).await.expect("answered");
    let taken: Vec<_> = entries.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, false, false]);
}

#[tokio::test]
async fn a_call_that_fails_is_an_error() {
    let put = mock!(Client::put_record_batch).then_error(|| {
        PutRecordBatchError::ServiceUnavailableException(
            ServiceUnavailableException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_firehose, RuleMode::MatchAny, [&put]);
    let stream = DeliveryStream::new(client, "lake".to_owned());
    assert!(stream.put(&records()).await.is_err());
}
