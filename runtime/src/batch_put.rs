//! The outcome of each record of a batch put: Kinesis' `PutRecords` and Firehose's `PutRecordBatch`.
//!
//! The response's status is 200 although records were rejected. It has an entry for each record, in order,
//! and a record is stored only if its entry says so
//! ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html),
//! [PutRecordBatch](https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html)).

/// The service did not store a record, because of throttling or an internal failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct Rejected {
    /// The service's error code.
    pub code: String,
}

/// The outcome of one record. Only with `Ok` is the record stored.
pub type RecordOutcome = Result<(), Rejected>;

/// Reads a response's entry. The id is Kinesis' sequence number, or Firehose's record id.
///
/// # Errors
/// [`Rejected`]: the entry has an error code, or no id.
pub fn record_outcome(error_code: Option<&str>, id: Option<&str>) -> RecordOutcome {
    match (error_code, id) {
        (None, Some(_)) => Ok(()),
        (code, _) => Err(Rejected {
            code: code.unwrap_or("no id").to_owned(),
        }),
    }
}

/// Which of the `sent` records are stored, in order; the others have to be put again. A record without an
/// outcome isn't stored.
#[must_use]
pub fn stored(sent: usize, outcomes: &[RecordOutcome]) -> Vec<bool> {
    let stored: Vec<bool> = (0..sent)
        .map(|index| outcomes.get(index).is_some_and(Result::is_ok))
        .collect();
    let failed = stored.iter().filter(|stored| !**stored).count();
    if failed > 0 {
        let reason = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        let reason = reason.map_or("not in the response", |rejected| &rejected.code);
        tracing::info!(
            failed,
            sent,
            reason,
            "a put did not store all records; the others will be put again"
        );
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_with_an_id_and_no_error_is_a_stored_record() {
        let rejected = |code: &str| {
            Err(Rejected {
                code: code.to_owned(),
            })
        };
        assert_eq!(record_outcome(None, Some("1")), Ok(()));
        assert_eq!(record_outcome(Some("x"), None), rejected("x"));
        assert_eq!(record_outcome(Some("x"), Some("1")), rejected("x"));
        assert_eq!(record_outcome(None, None), rejected("no id"));
    }

    #[test]
    fn a_record_without_an_outcome_is_not_stored() {
        let rejected = || record_outcome(Some("ServiceUnavailable"), None);
        assert_eq!(stored(2, &[Ok(()), Ok(())]), [true, true]);
        assert_eq!(
            stored(3, &[Ok(()), rejected(), Ok(())]),
            [true, false, true]
        );
        assert_eq!(stored(3, &[Ok(())]), [true, false, false]);
        assert_eq!(stored(1, &[]), [false]);
    }
}
