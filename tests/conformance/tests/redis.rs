//! redis keeps every promise it makes, on real servers.

#[path = "targets/published.rs"]
mod published;
#[path = "targets/redis.rs"]
mod target;

fn main() -> std::process::ExitCode {
    match target::suite() {
        Ok(suite) => published::published(suite).main(),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::from(2)
        }
    }
}
