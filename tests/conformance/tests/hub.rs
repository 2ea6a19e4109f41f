//! The hub keeps every promise with no transport on it; that it does with each is part of their suites.

use std::rc::Rc;

use kombu_core::hub::Hub;
use kombu_hub::MioHub;

fn main() -> std::process::ExitCode {
    let make = |clock| MioHub::with_clock(clock).map(|hub| Rc::new(hub) as Rc<dyn Hub>);
    let suite = kombu_conformance::Suite::of_hub("mio", make).patience(std::time::Duration::from_secs(60));
    suite.main()
}
