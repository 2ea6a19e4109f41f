//! Which queues a message goes to.

use crate::fault::Fault;

pub(super) const VARIANTS: &[(Fault, &[&str])] = &[
    (Fault::DefaultExchangeFoldsCase, &["default_exchange_by_queue_name"]),
    (Fault::DirectFoldsCase, &["direct_exact_key", "topic_table"]),
    (Fault::ExchangeBindingIgnored, &["exchange_chain_and_cycle"]),
    (Fault::FanoutByKey, &["exchange_chain_and_cycle", "fanout_ignores_key", "redeclare_exchange_differs_elsewhere"]),
    (Fault::FanoutNotStored, &["exchange_chain_and_cycle", "fanout_reaches_idle_queue"]),
    (Fault::HeadersAllIsAny, &["headers_match_table"]),
    (Fault::HeadersAnyIsAll, &["headers_match_table"]),
    (
        Fault::MandatoryIgnored,
        &["mandatory_unroutable_returned", "queue_expires_when_unused", "returns_are_not_mixed_up"],
    ),
    (
        Fault::MissingExchangeIsSilent,
        &[
            "channel_error_ends_one_channel",
            "exchange_auto_delete_with_last_binding",
            "exchange_delete_if_unused",
            "publish_to_missing_exchange_not_found",
            "publishes_before_an_error_arrive",
            "refused_message_never_arrives_late",
        ],
    ),
    (
        Fault::OneCopyPerBinding,
        &["declare_is_idempotent", "double_binding_single_copy", "unbind_stops_only_that_binding"],
    ),
    (
        Fault::PublishCreatesQueue,
        &["mandatory_unroutable_returned", "publish_to_missing_queue_creates_nothing", "queue_expires_when_unused"],
    ),
    (Fault::ReturnsMixedUp, &["mandatory_unroutable_returned", "returns_are_not_mixed_up"]),
    (Fault::StarMatchesMany, &["topic_table"]),
    (Fault::TopicHashNeedsWord, &["topic_table"]),
    (
        Fault::UnbindDoesNothing,
        &[
            "closed_things_say_closed",
            "exchange_auto_delete_with_last_binding",
            "exchange_delete_if_unused",
            "odd_names_work",
            "unbind_stops_only_that_binding",
        ],
    ),
    (Fault::UnbindTakesAll, &["unbind_stops_only_that_binding"]),
    (
        Fault::UnroutableFails,
        &[
            "alternate_exchange_takes_unroutable",
            "default_exchange_by_queue_name",
            "direct_exact_key",
            "exchange_chain_and_cycle",
            "odd_names_work",
            "publish_to_missing_queue_creates_nothing",
            "redeclare_exchange_differs_refused",
            "unroutable_without_mandatory_is_confirmed",
        ],
    ),
    (
        Fault::DoubleBindingNoCopy,
        &["declare_is_idempotent", "double_binding_single_copy", "unbind_stops_only_that_binding"],
    ),
    (Fault::FanoutForgottenAtGet, &["exchange_chain_and_cycle", "fanout_reaches_idle_queue"]),
    (
        Fault::MissingExchangeIsInternal,
        &[
            "channel_error_ends_one_channel",
            "exchange_auto_delete_with_last_binding",
            "exchange_delete_if_unused",
            "publish_to_missing_exchange_not_found",
            "publishes_before_an_error_arrive",
            "refused_message_never_arrives_late",
        ],
    ),
    (Fault::TakesUndeclaredTopics, &["channel_error_ends_one_channel", "topic_table"]),
];
