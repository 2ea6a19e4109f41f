//! memory keeps every promise it makes, by a clock that is turned by hand.

#[path = "targets/published.rs"]
mod published;
#[path = "targets/memory.rs"]
mod target;

fn main() -> std::process::ExitCode {
    published::published(target::suite()).main()
}
