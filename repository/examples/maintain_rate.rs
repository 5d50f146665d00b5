//! Times maintenance of a bare repository, which it changes: `maintain_rate FOLDER [full]`.

use std::sync::atomic::AtomicBool;

use slipway_repository::{Repository, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let root = std::path::PathBuf::from(args.next().ok_or("usage: maintain_rate FOLDER [full]")?);
    let full = args.next().is_some_and(|word| word == "full");
    let files = vec![root.join("config")];
    let repository = Repository::open_with(root, Settings::default(), files)?;
    let stop = AtomicBool::new(false);
    let done = if full {
        repository.repack(&repository.repack_options()?, &stop)?
    } else {
        repository.maintain(&stop)?
    };
    println!("{done:#?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
