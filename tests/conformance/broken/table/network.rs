//! Links that are cut, brokers that stop, and processes that are killed.

use crate::fault::Fault;

pub(super) const VARIANTS: &[(Fault, &[&str])] = &[
    (Fault::AnyPasswordWorks, &["wrong_password_is_refused"]),
    (Fault::BlockedConfirms, &["blocked_publish_says_so"]),
    (Fault::BlockedForEver, &["blocked_publish_says_so"]),
    (Fault::BlockedStoresRefused, &["blocked_publish_says_so"]),
    (Fault::CutForgetsFlags, &["link_cut_resumes_consumption"]),
    (Fault::CutIsNotNoticed, &["broker_restart_keeps_persistent", "link_cut_resumes_consumption"]),
    (Fault::CutLosesHeld, &["link_cut_resumes_consumption"]),
    (
        Fault::CutLosesMessages,
        &["broker_restart_keeps_persistent", "link_cut_resumes_consumption", "link_cut_resumes_publishing"],
    ),
    (Fault::CutStoresRefused, &["broker_restart_keeps_persistent", "link_cut_resumes_publishing"]),
    (Fault::KilledForgetsFlags, &["killed_consumer_loses_nothing"]),
    (Fault::KilledLosesHeld, &["killed_consumer_loses_nothing", "two_processes_share_no_identity"]),
    (Fault::KilledNeverGone, &["killed_consumer_loses_nothing", "two_processes_share_no_identity"]),
    (Fault::LivingLoseTheirs, &["two_processes_share_no_identity"]),
    (Fault::NobodyAnswers, &["connect_errors_are_clean", "failover_to_second_url", "lasting_error_backs_off"]),
    (Fault::NobodyConnects, &["connect_errors_are_clean", "failover_to_second_url", "lasting_error_backs_off"]),
    (Fault::NobodyIsFatal, &["connect_errors_are_clean", "lasting_error_backs_off"]),
    (Fault::NothingBehindANetwork, &[]),
    (Fault::OneIdentityForAll, &["two_processes_share_no_identity"]),
    (Fault::RestartForgetsBindings, &["broker_restart_keeps_persistent"]),
    (Fault::RestartForgetsExchanges, &["broker_restart_keeps_persistent"]),
    (Fault::RestartLosesMessages, &["broker_restart_keeps_persistent"]),
    (Fault::RestartStaysDown, &["broker_restart_keeps_persistent"]),
    (Fault::WrongPasswordIsALostLink, &["wrong_password_is_refused"]),
];
