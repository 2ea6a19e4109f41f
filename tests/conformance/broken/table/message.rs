//! What a message carries, and when it ends.

use crate::fault::Fault;

pub(super) const VARIANTS: &[(Fault, &[&str])] = &[
    (Fault::BodyCutAtNul, &["bodies_byte_exact", "large_body_byte_exact"]),
    (Fault::BodyLimitCuts, &["body_over_limit_refused"]),
    (Fault::BodyLimitOffByOne, &["body_over_limit_refused"]),
    (Fault::BodyLossyText, &["bodies_byte_exact", "large_body_byte_exact"]),
    (
        Fault::DeadLettersIgnored,
        &[
            "dead_letter_count_grows",
            "dead_letter_expired",
            "dead_letter_keeps_address",
            "dead_letter_maxlen",
            "dead_letter_rejected",
        ],
    ),
    (Fault::DeadLettersWithoutCount, &["dead_letter_count_grows"]),
    (
        Fault::DeadLettersWithoutKey,
        &[
            "dead_letter_count_grows",
            "dead_letter_expired",
            "dead_letter_keeps_address",
            "dead_letter_maxlen",
            "dead_letter_rejected",
        ],
    ),
    (Fault::DelayIgnored, &["delayed_not_before_due"]),
    (
        Fault::DropsHeaders,
        &[
            "dead_letter_count_grows",
            "dead_letter_keeps_address",
            "delayed_not_before_due",
            "headers_match_table",
            "headers_round_trip",
        ],
    ),
    (Fault::ExpiryKeepsExpiration, &["dead_letter_expired"]),
    (Fault::HeadersStringly, &["delayed_not_before_due", "headers_match_table", "headers_round_trip"]),
    (Fault::LargeBodyCut, &["large_body_byte_exact"]),
    (
        Fault::MaxLengthIgnored,
        &[
            "dead_letter_maxlen",
            "max_length_bytes",
            "max_length_counts_ready_only",
            "max_length_drops_oldest",
            "max_length_reject_publish",
            "redeclare_queue_differs_refused",
        ],
    ),
    (Fault::MaxLengthKeepsOldest, &["dead_letter_maxlen", "max_length_counts_ready_only", "max_length_drops_oldest"]),
    (Fault::MaxLengthNeverRejects, &["max_length_reject_publish"]),
    (Fault::PriorityIgnored, &["priority_is_clamped", "priority_order_fifo_within", "properties_round_trip"]),
    (Fault::PriorityNotClamped, &["priority_is_clamped"]),
    (
        Fault::PropertiesDropped,
        &[
            "dead_letter_expired",
            "dead_letter_keeps_address",
            "mandatory_unroutable_returned",
            "message_ttl",
            "message_ttl_zero",
            "priority_is_clamped",
            "priority_order_fifo_within",
            "properties_round_trip",
            "requeue_does_not_renew_ttl",
            "shorter_ttl_wins",
        ],
    ),
    (Fault::PropertiesInvented, &["properties_round_trip"]),
    (Fault::QueueTtlIgnored, &["dead_letter_cycle_stops", "queue_ttl", "shorter_ttl_wins"]),
    (Fault::RequeueRenewsTtl, &["requeue_does_not_renew_ttl"]),
    (
        Fault::TtlIgnored,
        &[
            "dead_letter_expired",
            "message_ttl",
            "message_ttl_zero",
            "properties_round_trip",
            "requeue_does_not_renew_ttl",
            "shorter_ttl_wins",
        ],
    ),
    (Fault::TtlZeroKept, &["message_ttl_zero"]),
    (Fault::DeclaresNothing, &[]),
    (Fault::HeaderLimitCuts, &["headers_over_limit_refused"]),
    (Fault::HeaderTypesOnPaper, &["headers_over_limit_refused"]),
    (Fault::QueueTtlDoubled, &["queue_ttl", "shorter_ttl_wins"]),
];
